"""`merc train`, `evaluate`, `compare` and `ablate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.common import (
    INPUT,
    MODEL,
    OUTPUT,
    Engine,
    Json,
    Prior,
    Seeds,
    Settings,
    example,
    fail,
    finish,
    report_result,
)
from pipeline.cli.terminal import print_line

if TYPE_CHECKING:
    from pipeline.core.dialogue import Corpus
    from pipeline.features.extract_release import ReleaseSummary
    from pipeline.loading import ReleaseOptions

__all__ = [
    "EPILOGS",
    "Data",
    "Dataset",
    "ablate",
    "compare",
    "evaluate",
    "load_for_training",
    "train",
]

EPILOGS = {
    "train": example(
        "merc train --dataset synthetic --seeds 2 --out runs/synthetic",
        "merc train --dataset iemocap --data iemocap_multimodal_features.pkl --out runs/iemocap",
        "merc train --dataset meld --data MELD.Raw --profile offline --out runs/meld",
        "merc train --dataset mytable --set train.epochs=20 --out runs/mine",
        "merc train --dataset mytable --model sdt --out runs/sdt",
        "merc train --dataset mytable --start merc-offline --out runs/adapted",
    ),
    "evaluate": example("merc evaluate runs/mine --dataset mytable --json"),
    "compare": example("merc compare runs/mine runs/other"),
    "ablate": example("merc ablate --dataset synthetic --rows components --out runs/ablation"),
}
PANEL_RELEASE = "Features of a raw release"

Dataset = Annotated[
    str,
    typer.Option(
        help="A table folder, iemocap, meld, synthetic, or paired (what merc-offline learned "
        "from).",
        rich_help_panel=INPUT,
        show_default=False,
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        help="Where the corpus' files are: a published feature file, a table, or a raw release. "
        "Default: $MERC_DATA.",
        rich_help_panel=INPUT,
        show_default=False,
    ),
]


def train(
    dataset: Dataset,
    out: Annotated[
        Path,
        typer.Option(
            help="The run folder. An interrupted run continues.",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ],
    data: Data = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="css (default), or a model that the paper compares it with, such as sdt.",
            rich_help_panel=MODEL,
            show_default=False,
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            help="Adapt this model to the labels of the dataset: merc-offline, a run folder or a "
            "model file. The settings are those of configs/adapt.yaml.",
            rich_help_panel=MODEL,
            show_default=False,
        ),
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(
            help="clean: select on valid; published: select on test, leaky; both.",
            rich_help_panel=MODEL,
        ),
    ] = "clean",
    seeds: Seeds = 5,
    set: Settings = None,
    engine: Engine = "local",
    tensorboard: Annotated[
        bool,
        typer.Option("--tensorboard", help="Also write RUN/tensorboard.", rich_help_panel=OUTPUT),
    ] = False,
    profile: Annotated[
        str | None,
        typer.Option(
            help="roberta (default) or offline.",
            rich_help_panel=PANEL_RELEASE,
            show_default=False,
        ),
    ] = None,
    text_model: Annotated[
        str | None,
        typer.Option(
            help="Another text encoder: a name or a folder.",
            rich_help_panel=PANEL_RELEASE,
            show_default=False,
        ),
    ] = None,
    finetune: Annotated[
        Path | None,
        typer.Option(
            help="First fine-tune the text encoder on the corpus, into this folder.",
            rich_help_panel=PANEL_RELEASE,
            show_default=False,
        ),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the store, as in merc extract.",
            rich_help_panel=PANEL_RELEASE,
            show_default=False,
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of files to extract at once.",
            rich_help_panel=PANEL_RELEASE,
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Train CSS or another model and write a run: model, predictions, metrics, pictures, card.

    If --data is a raw release of IEMOCAP or MELD, its features are extracted first.
    """
    from pipeline.cli.tables import show_run
    from pipeline.loading import ReleaseOptions

    release = ReleaseOptions(profile, text_model, store, jobs)
    extracted: ReleaseSummary | None = None

    def work() -> dict[str, Any]:
        nonlocal extracted
        from pipeline.cli.progress import training_progress
        from pipeline.core.errors import UsageError
        from pipeline.training.start import load_start
        from pipeline.training.train import check_options
        from pipeline.training.train import train as run

        check_options(out, protocol, seeds, tensorboard, engine)
        if start and model:
            raise UsageError(
                "--start and --model: training continues the model that it starts from",
                "leave out one of them",
            )
        corpus, config, extracted = load_for_training(
            dataset, data, set or [], release, finetune, model, engine
        )
        begin = None
        if start:
            begin = load_start(start, corpus)
            config = begin.configuration(set)
        with training_progress() as report:
            metrics = run(
                corpus,
                config,
                protocol,
                seeds,
                out,
                report=report,
                tensorboard=tensorboard,
                start=begin,
                engine=engine,
            )
        if not metrics:  # under torchrun only rank 0 writes and prints
            raise typer.Exit
        return metrics

    report_result(work, json, show_run)
    if extracted:
        total = len(extracted.files) + len(extracted.failures)
        raise typer.Exit(finish(extracted.failures, total, out, [extracted.data]))


def evaluate(
    model: Annotated[
        str,
        typer.Argument(help="A run folder, a model file, or merc-offline.", show_default=False),
    ],
    dataset: Dataset,
    data: Data = None,
    split: Annotated[
        str, typer.Option(help="train, valid or test.", rich_help_panel=INPUT)
    ] = "test",
    prior: Prior = "train",
    predictions: Annotated[
        Path | None,
        typer.Option(
            help="Write every probability to this CSV file.",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Accuracy, F1, recall and confusion matrix of a model on one split of a corpus."""

    def work() -> dict[str, Any]:
        from pipeline.training.evaluate import evaluate as run

        corpus, _, _ = load_for_training(dataset, data, [], release=None)
        return run(model, corpus, split, prior, predictions)

    report_result(work, json)


def compare(
    first: Annotated[Path, typer.Argument(help="A run folder.", show_default=False)],
    second: Annotated[
        Path,
        typer.Argument(
            help="Another run folder, tested on the same dialogues.", show_default=False
        ),
    ],
    draws: Annotated[int, typer.Option(min=100, help="Number of random swaps.")] = 10_000,
    json: Json = False,
) -> None:
    """Test whether one run has a better weighted F1 than another.

    Approximate randomisation over test dialogues, all seeds together.
    """
    from pipeline.cli.comparison import show_comparison

    def work() -> dict[str, Any]:
        from pipeline.training.compare import compare as run

        return run(first, second, draws)

    report_result(work, json, show_comparison)


def ablate(
    dataset: Dataset,
    out: Annotated[
        Path,
        typer.Option(
            help="Folder of the tables and of every row's run. An interrupted run continues.",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ],
    data: Data = None,
    rows: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated rows or groups (components, modalities, fusion, objectives, "
            "open). Default: all.",
            rich_help_panel=MODEL,
            show_default=False,
        ),
    ] = None,
    protocol: Annotated[
        str, typer.Option(help="clean or published.", rich_help_panel=MODEL)
    ] = "clean",
    seeds: Seeds = 5,
    set: Settings = None,
    json: Json = False,
) -> None:
    """Train CSS without its parts, on fewer modalities, with other fusions and objectives."""
    from pipeline.cli.tables import show_ablation

    names = [name.strip() for name in rows.split(",") if name.strip()] if rows else None

    def work() -> dict[str, Any]:
        from pipeline.cli.progress import training_progress
        from pipeline.loading import ReleaseOptions
        from pipeline.training.ablation import ablate as run

        corpus, _, _ = load_for_training(dataset, data, set or [], ReleaseOptions())
        with training_progress() as report:
            return run(
                corpus, corpus.settings, out, names, protocol, seeds, set or [], report=report
            )

    report_result(work, json, show_ablation)


def load_for_training(
    dataset: str,
    data: Path | None,
    overrides: list[str],
    release: ReleaseOptions | None,
    finetune: Path | None = None,
    model: str | None = None,
    engine: str = "local",
) -> tuple[Corpus, Any, Any]:
    """Load the corpus, the settings to train it with, and the summary of an extraction.

    release: None refuses a raw release. engine: where one is extracted.
    """
    from pipeline.loading import load
    from pipeline.training.config import load_configuration

    if dataset == "paired" and not (Path(dataset) / "utterances.csv").is_file():
        return _load_paired(data, overrides, release, finetune, model)
    from pipeline.corpora import find_source

    source = find_source(dataset, data)
    config = load_configuration(source.settings, overrides, model)
    if finetune and release:
        release = _finetune(source, release, finetune)
    from pipeline.cli.progress import RunProgress

    with RunProgress() as progress:
        left = config.data.left
        loaded = load(source, release=release, left=left, progress=progress, engine=engine)
    if loaded.release:
        from pipeline.cli.extract import show_release
        from pipeline.cli.terminal import console

        show_release(loaded.release, console(error=True))
    return loaded.corpus, config, loaded.release


def _load_paired(
    data: Path | None,
    overrides: list[str],
    release: ReleaseOptions | None,
    finetune: Path | None,
    model: str | None,
) -> tuple[Corpus, Any, None]:
    from pipeline.recipes.paired import load_paired
    from pipeline.training.config import load_configuration

    given = release.given if release else []
    if given or finetune:
        options = ", ".join([*given, *(["--finetune"] if finetune else [])])
        fail(f"{options}: only for a raw release, and paired is none; leave them out")
    config = load_configuration("offline", overrides, model)
    corpus = load_paired(data, lambda line: print_line(f"paired: {line}", error=True))
    return corpus, config, None


def _finetune(source: Any, release: ReleaseOptions, out: Path) -> ReleaseOptions:
    """Fine-tune the text encoder of a raw release; return the options that use it."""
    from dataclasses import replace

    from pipeline.cli.progress import finetuning_progress
    from pipeline.features.profiles import TEXT_MODEL, check_profile
    from pipeline.finetuning.finetune import finetune_text
    from pipeline.finetuning.lines import load_lines

    if source.kind != "release":
        fail(f"--finetune {out}: only for a raw release; {source.name} has its features")
    profile = release.profile or "roberta"
    check_profile(profile)
    model = release.text_model or TEXT_MODEL[profile]
    with finetuning_progress() as report:
        finetune_text(load_lines(source), model, "full", 1, out, [], report)
    return replace(release, text_model=str(out))
