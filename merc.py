"""merc: emotion recognition in conversation from text, voice and face.

>>> import merc
>>> result = merc.label("examples/dialogue.mp4", speakers=2)
>>> [utterance["emotion"] for utterance in result.utterances][:2]
['joy', 'joy']

The functions mirror the commands of the command line, and their keyword arguments its options.
Everything is imported when it is first used, so `import merc` is fast.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import __version__
from pipeline.core.errors import MercError, MercWarning

if TYPE_CHECKING:
    from pipeline.annotated_corpus import AnnotatedCorpus
    from pipeline.core.dialogue import Corpus
    from pipeline.core.progress import Progress
    from pipeline.features.extract import Summary
    from pipeline.labelling import Labeller, Result
    from pipeline.training.predictor import Predictor

__all__ = [
    "Labeller",
    "MercError",
    "MercWarning",
    "Result",
    "Run",
    "__version__",
    "ablate",
    "agree",
    "benchmark",
    "compare",
    "evaluate",
    "extract",
    "from_annotations",
    "label",
    "load_corpus",
    "load_model",
    "load_result",
    "train",
]

Report = Callable[[dict[str, Any]], None]


def __getattr__(name: str) -> Any:
    if name in ("Labeller", "Result"):
        from pipeline import labelling

        return getattr(labelling, name)
    raise AttributeError(f"module 'merc' has no attribute {name!r}")


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained model on disk: the folder that `merc train` writes.

    >>> corpus = merc.load_corpus("synthetic")
    >>> run = merc.train(corpus, out="runs/doc", seeds=1, settings=["train.epochs=1"])
    >>> sorted(run.metrics["weighted_f1"])
    ['interval', 'mean', 'sd']
    """

    path: Path

    @property
    def metrics(self) -> dict[str, Any]:
        """The content of metrics.json. Figures at the top level are those of the test part."""
        import json

        return json.loads((self.path / "metrics.json").read_text("utf-8"))

    def __fspath__(self) -> str:
        return str(self.path)


def label(
    recording: str | Path,
    *,
    transcript: str | Path | None = None,
    speakers: int | None = None,
    model: str | Path | Run = "merc-offline",
    prior: str = "auto",
    min_confidence: float = 0.0,
    language: str | None = None,
    whisper: str = "tiny.en",
    text_model: str | Path | None = None,
    device: str = "cpu",
    report: bool = False,
    embed: bool = False,
    overlay: bool = False,
    out: str | Path | None = None,
    overwrite: bool = False,
) -> Result:
    """Label one recording. To label many, make one `Labeller`.

    Args:
        recording: a video or sound file.
        transcript: subtitle or annotation file. Default: a file next to the recording with the
            same name; otherwise speech is transcribed.
        speakers: number of speakers, if known.
        model: a run, a run folder, a model file, or the name of the model that ships with merc.
        prior: "train": classes as frequent as in training; "uniform": all classes equally likely;
            "auto": "train" for utterances with words, else "uniform".
        min_confidence: utterances below it are marked as uncertain, 0 to 1.
        language: language spoken, such as "en" or "de"; default: English, or what a multilingual
            Whisper model detects.
        whisper: Whisper model: "tiny.en" (English), "base" (many languages; extra
            `multilingual`), a folder, or another name, which needs a network.
        text_model: folder of the fine-tuned text encoder that the run was trained with.
        device: "cpu", "cuda" or "cuda:N".
        report: also write a page to watch, check and correct the labels: NAME.merc.html.
        embed: put the recording into the page.
        overlay: also write the video with face boxes, names, words and emotions on it:
            NAME.merc.mp4. Sound alone has none; the result then has a warning.
        out: folder of these two files; default: that of the recording.
        overwrite: whether they may replace files that merc did not write.

    `Result.save` writes the labels. Raises MercError or OSError.

    >>> result = merc.label("examples/dialogue.mp4", report=True, out="results")
    >>> Path("results/dialogue.merc.html").exists()
    True
    >>> result.to_dataframe()[["speaker", "emotion"]].head(2)
      speaker emotion
    0      S1     joy
    1      S2     joy
    """
    from pipeline.labelling import Labeller

    labeller = Labeller(
        _path(model),
        whisper=whisper,
        language=language,
        speakers=speakers,
        prior=prior,
        min_confidence=min_confidence,
        device=device,
        text_model=text_model,
    )
    result = labeller.label(recording, transcript)
    if report or overlay:
        from pipeline.reporting import overlay_warnings, write_overlay, write_page

        path = Path(recording)
        base = (Path(out) if out else path.parent) / path.stem
        if overlay:
            result.warnings.extend(overlay_warnings(result.content))
        if report:
            write_page(result.content, path, base, embed=embed, overwrite=overwrite)
        if overlay and result.content["picture"]:
            write_overlay(result.content, path, base, overwrite=overwrite)
    return result


def load_result(path: str | Path) -> Result:
    """Read a result of merc, corrected or not, in any of its formats but RTTM.

    Save it in another format with `Result.save`. Raises MercError or OSError.

    >>> merc.label("examples/dialogue.mp4").save("dialogue.eaf", overwrite=True)
    PosixPath('dialogue.eaf')
    >>> merc.load_result("dialogue.eaf").utterances[0]["emotion"]
    'joy'
    """
    from pipeline.labelling import Result
    from pipeline.segmentation.annotations import find_recording, read_annotation

    content = read_annotation(Path(path))
    return Result(content, find_recording(Path(path), content["media"]))


def agree(
    one: str | Path,
    other: str | Path,
    *,
    report: bool = False,
    out: str | Path | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Compare two annotations of the same recordings: two files, or two folders of files.

    Args:
        report: also write a page with the figures and where the two differ.
        out: folder of the page; default: that of `one`.
        overwrite: whether the page may replace a file that merc did not write.

    Returns:
        agreement, kappa, alpha, confusion, speakers, segmentation, disagreements, ...; see
        `merc agree --json` and docs/results.md. `page` is the path of the page.

    Needs the extra `agree`. Raises MercError or OSError.

    >>> merc.label("examples/dialogue.mp4").save("dialogue.eaf", overwrite=True)
    PosixPath('dialogue.eaf')
    >>> merc.agree("dialogue.eaf", "dialogue.eaf")["kappa"]
    1.0
    """
    from pipeline.agreement import agree as compare

    return compare(one, other, report=report, out=out, overwrite=overwrite)


def extract(
    recordings: str | Path | Sequence[str | Path],
    *,
    store: str | Path | None = None,
    profile: str = "roberta",
    transcript: str | Path | None = None,
    speakers: int | None = None,
    modalities: Sequence[str] = ("text", "audio", "visual"),
    text_model: str | Path | None = None,
    text_layers: str = "last",
    text_cleaning: str | None = None,
    audio_model: str | None = None,
    audio_variant: str = "compat",
    face_weights: str | Path | None = None,
    face_detector: str = "auto",
    face_choice: str = "auto",
    language: str | None = None,
    whisper: str = "tiny.en",
    device: str = "cpu",
    jobs: int | None = 1,
    engine: str = "local",
    progress: Progress | None = None,
) -> Summary:
    """Extract text, audio and visual features of every utterance into a store.

    Features that are in the store already are not computed again. For the arguments see
    `merc extract --help`.

    Args:
        jobs: number of worker processes; None: as many as this machine or the cluster carries.
        engine: "local", or "ray": on a Ray cluster.

    Returns:
        A summary: `files` (what is in the store now), `failures` (inputs that failed and why).

    Raises MercError or OSError if nothing can be extracted.

    >>> summary = merc.extract("examples", store="store", profile="offline")
    >>> summary.failures
    []
    """
    from pipeline.features.extract import ExtractOptions
    from pipeline.features.extract import extract as run
    from pipeline.features.profiles import ExtractorOptions

    if isinstance(recordings, (str, Path)):
        recordings = [recordings]
    extractors = ExtractorOptions(
        text_model=str(text_model) if text_model else None,
        text_layers=text_layers,
        text_cleaning=text_cleaning,
        audio_model=audio_model,
        audio_variant=audio_variant,
        face_weights=str(face_weights) if face_weights else None,
        face_detector=face_detector,
        face_choice=face_choice,
        device=device,
    )
    options = ExtractOptions(
        profile=profile,
        extractors=extractors,
        modalities=tuple(modalities),
        whisper=whisper,
        language=language,
        speakers=speakers,
        transcript=Path(transcript) if transcript else None,
    )
    paths = [Path(path) for path in recordings]
    return run(paths, Path(store) if store else None, options, jobs, progress, engine)


def from_annotations(
    folder: str | Path,
    *,
    out: str | Path | None = None,
    start: str | Path | Run = "merc-offline",
    labels: Sequence[str] | None = None,
    unedited: bool = False,
    store: str | Path | None = None,
    text_model: str | Path | None = None,
    device: str = "cpu",
    jobs: int = 1,
    progress: Progress | None = None,
) -> AnnotatedCorpus:
    """Make a corpus of recordings that have a corrected annotation next to them.

    Args:
        folder: is searched for recordings and their annotations (JSON, EAF, TextGrid, CSV, ...).
        out: also write the corpus as a table to this folder.
        start: the features are those that this model reads, so that it can be adapted.
        labels: the label set, in this order; default: the labels that occur.
        unedited: also use results of merc that nobody has corrected.

    Returns:
        `corpus`, `warnings` and `failures`; see docs/adaptation.md.

    Raises MercError or OSError.

    >>> import shutil
    >>> from pathlib import Path
    >>> Path("talks").mkdir(exist_ok=True)
    >>> _ = shutil.copy("examples/dialogue.mp4", "talks")
    >>> rows = "start,end,speaker,text,emotion\\n0,2,A,Hello,calm\\n2,4,B,No,tense\\n"
    >>> _ = Path("talks/dialogue.csv").write_text(rows)
    >>> merc.from_annotations("talks", store="store").corpus.labels
    ('calm', 'tense')
    """
    from pipeline.annotated_corpus import corpus_from_annotations
    from pipeline.corpora.table import check_replaceable, save_table

    if out is not None:
        check_replaceable(Path(out), Path(folder).resolve().name, "out")
    made = corpus_from_annotations(
        Path(folder),
        _path(start),
        Path(store) if store else None,
        labels=labels,
        unedited=unedited,
        text_model=str(text_model) if text_model else None,
        device=device,
        jobs=jobs,
        progress=progress,
    )
    if out is not None:
        save_table(made.corpus, Path(out))
    return made


def load_corpus(
    dataset: str | Path,
    *,
    data: str | Path | None = None,
    profile: str | None = None,
    text_model: str | Path | None = None,
    store: str | Path | None = None,
    jobs: int | None = None,
    left: str = "letter",
    progress: Progress | None = None,
) -> Corpus:
    """Load a corpus with its features.

    Args:
        dataset: "iemocap", "meld", "synthetic", or the folder of a table dataset.
        data: where the corpus' files are; default: $MERC_DATA. A published feature file, a table,
            or the raw release, whose features are then extracted first.
        profile: of the extractors, for a raw release; likewise the next three.
        text_model: another text encoder: a name or a folder.
        store: where the features go.
        jobs: recordings to extract at once.
        left: IEMOCAP: which actor sits on the left, "letter" (the one in the dialogue's name) or
            "other".

    Raises MercError or OSError.

    >>> corpus = merc.load_corpus("synthetic")
    >>> corpus.widths
    {'text': 32, 'audio': 24, 'visual': 20}
    """
    from pipeline.loading import ReleaseOptions
    from pipeline.loading import load_corpus as load

    release = ReleaseOptions(
        profile=profile,
        text_model=str(text_model) if text_model else None,
        store=Path(store) if store else None,
        jobs=jobs,
    )
    return load(
        str(dataset),
        Path(data) if data else None,
        release=release,
        left=left,
        progress=progress,
    )


def train(
    corpus: Corpus,
    *,
    out: str | Path,
    protocol: str = "clean",
    seeds: int = 5,
    settings: Sequence[str] = (),
    model: str | None = None,
    start: str | Path | Run | None = None,
    engine: str = "local",
    tensorboard: bool = False,
    report: Report | None = None,
) -> Run:
    """Train a model on a corpus and write a run folder. An interrupted run continues.

    Args:
        out: the run folder.
        protocol: "clean": select on valid; "published": select on test, leaky; "both".
        settings: overrides such as "train.epochs=2".
        model: "css" (default), or a model that the paper compares it with, such as "sdt".
        start: adapt this model to the labels of the corpus: "merc-offline", a run, a run folder or
            a model file.
        engine: where the seeds are trained: "local", or "ray", a Ray cluster.
        report: is called with a dict of losses and scores after every epoch.

    Raises MercError or OSError.

    >>> corpus = merc.load_corpus("synthetic")
    >>> merc.train(corpus, out="runs/doc", seeds=1, settings=["train.epochs=1"]).path
    PosixPath('runs/doc')
    """
    from pipeline.core.errors import UsageError
    from pipeline.training.config import load_configuration
    from pipeline.training.start import load_start
    from pipeline.training.train import train as run

    if start and model:
        raise UsageError("start and model: training continues the model that it starts from")
    begin = load_start(_path(start), corpus) if start else None
    if begin:
        config = begin.configuration(list(settings))
    else:
        config = load_configuration(corpus.settings, list(settings), model)
    run(
        corpus,
        config,
        protocol,
        seeds,
        Path(out),
        report=report,
        tensorboard=tensorboard,
        start=begin,
        engine=engine,
    )
    return Run(Path(out))


def ablate(
    corpus: Corpus,
    *,
    out: str | Path,
    rows: Sequence[str] | None = None,
    protocol: str = "clean",
    seeds: int = 5,
    settings: Sequence[str] = (),
    report: Report | None = None,
) -> dict[str, Any]:
    """Train CSS without its parts, on fewer modalities, with other fusions and objectives.

    Args:
        out: folder of the tables and of every row's run.
        rows: names of rows or groups (components, modalities, fusion, objectives, open); default:
            all.

    Returns:
        {"dataset", "protocol", "seeds", "rows", "not_run"}; see `merc ablate --json`.

    >>> corpus = merc.load_corpus("synthetic")
    >>> table = merc.ablate(
    ...     corpus, out="runs/abl", rows=["no-spf"], seeds=1, settings=["train.epochs=1"]
    ... )
    >>> [row["row"] for row in table["rows"]]
    ['css', 'no-spf']
    """
    from pipeline.training.ablation import ablate as run

    names = list(rows) if rows else None
    return run(
        corpus, corpus.settings, Path(out), names, protocol, seeds, list(settings), report=report
    )


def benchmark(
    corpus: Corpus,
    *,
    out: str | Path,
    models: Sequence[str] | None = None,
    protocol: str = "clean",
    seeds: int = 5,
    settings: Sequence[str] = (),
    settings_of: str | None = None,
    width: int | None = None,
    jobs: int | None = None,
    engine: str = "local",
    report: Report | None = None,
) -> dict[str, Any]:
    """Train CSS and the models that it is compared with, each with its own settings.

    Args:
        out: folder of the tables and of every model's run. A killed benchmark continues.
        models: names such as "css" and "sdt"; default: all.
        protocol: "clean", "published" or "both".
        settings: overrides such as "train.epochs=2"; one counts for the models that have its key.
        settings_of: "iemocap" or "meld": the sizes and hyperparameters of that corpus.
        width: of every model that has one.
        jobs: seeds to train at once; default: one per core, on a CUDA device one, on a cluster as
            many as it has room for.
        engine: where the seeds are trained: "local", or "ray", a Ray cluster.

    Returns:
        {"models": {name: figures}}; see `merc benchmark --json`. A model that failed has an error.

    >>> corpus = merc.load_corpus("synthetic")
    >>> result = merc.benchmark(
    ...     corpus, out="runs/all", models=["mfn"], seeds=1, settings=["train.epochs=1"]
    ... )
    >>> result["models"]["mfn"]["parameters"]
    880134
    """
    from pipeline.training.benchmark import benchmark as run

    return run(
        corpus,
        settings_of or corpus.settings,
        Path(out),
        models,
        protocol,
        seeds,
        settings,
        width=width,
        jobs=jobs,
        report=report,
        engine=engine,
    )


def evaluate(
    model: str | Path | Run,
    corpus: Corpus | str | Path,
    *,
    split: str = "test",
    prior: str = "train",
    predictions: str | Path | None = None,
) -> dict[str, Any]:
    """Score a model on one split of a corpus or table folder.

    Args:
        model: a run, a run folder, a model file, or "merc-offline".
        split: "train", "valid" or "test".
        prior: "train" or "uniform".
        predictions: write every probability to this CSV file.

    Returns:
        accuracy, weighted_f1, macro_f1, macro_recall, per-class figures, confusion matrix.

    >>> corpus = merc.load_corpus("synthetic")
    >>> run = merc.train(corpus, out="runs/doc", seeds=1, settings=["train.epochs=1"])
    >>> 0 <= merc.evaluate(run, corpus)["accuracy"] <= 1
    True
    """
    from pipeline.training.evaluate import evaluate as score

    if isinstance(corpus, (str, Path)):
        corpus = load_corpus(corpus)
    path = Path(predictions) if predictions else None
    return score(str(_path(model)), corpus, split, prior, path)


def compare(first: str | Path | Run, second: str | Path | Run, *, draws: int = 10_000) -> dict:
    """Test whether one run is better than another on the same test dialogues.

    Approximate randomisation over dialogues, all seeds together.

    Returns:
        The difference of the seed-mean weighted F1 and its two-sided p.

    >>> corpus = merc.load_corpus("synthetic")
    >>> run = merc.train(corpus, out="runs/doc", seeds=1, settings=["train.epochs=1"])
    >>> merc.compare(run, run)["difference"]
    0.0
    """
    from pipeline.training.compare import compare as run

    return run(Path(_path(first)), Path(_path(second)), draws)


def load_model(source: str | Path | Run, *, device: str = "cpu") -> Predictor:
    """Load a trained model: features of a dialogue in, probabilities out.

    >>> merc.load_model("merc-offline").labels
    ('neutral', 'surprise', 'fear', 'sadness', 'joy', 'disgust', 'anger')
    """
    from pipeline.training.predictor import Predictor

    return Predictor.load(_path(source), device)


def _path(model: str | Path | Run) -> str | Path:
    return model.path if isinstance(model, Run) else model
