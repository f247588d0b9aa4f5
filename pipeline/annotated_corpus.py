"""Turn annotated recordings into a corpus: utterances and labels of people, features of merc."""

from __future__ import annotations

from bisect import bisect
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.counts import counted
from pipeline.core.dialogue import Corpus, Dialogue, Segmentation, Utterance
from pipeline.core.errors import MercError, MercWarning, UsageError
from pipeline.core.failures import Failure, printable, run_each
from pipeline.core.files import check_folder
from pipeline.core.fingerprints import checksum
from pipeline.core.progress import NoProgress, Progress, Stage, allow_time
from pipeline.exports.rows import UNCERTAIN, label_of
from pipeline.features.extract import ExtractOptions, ExtractWork, stored_features
from pipeline.features.profiles import options_of
from pipeline.features.store import Store, default_store
from pipeline.media.decode import Media, open_media
from pipeline.segmentation.annotated_recordings import AnnotatedRecording, find_annotated
from pipeline.segmentation.annotations import UNLABELLED
from pipeline.training.predictor import Predictor

__all__ = ["AnnotatedCorpus", "corpus_from_annotations", "split_recordings"]

SHARE = 0.15  # of all recordings in valid, and in test
TOLERANCE = 1.0, 0.02  # seconds, and share of the recording, that times may be longer
SOURCE_VERSION = 1  # of how an annotation becomes utterances; part of the fingerprint
MAX_TIMES = 5  # named in a warning


@dataclass(frozen=True)
class AnnotatedCorpus:
    """A corpus, and what became of every recording and annotation.

    annotations: id of a dialogue -> its annotation file.
    """

    corpus: Corpus
    store: Path
    annotations: dict[str, str]
    warnings: list[MercWarning]
    failures: list[Failure]


def corpus_from_annotations(
    folder: Path,
    start: str | Path = "merc-offline",
    store: Path | None = None,
    *,
    labels: Sequence[str] | None = None,
    unedited: bool = False,
    text_model: str | None = None,
    device: str = "cpu",
    jobs: int | None = 1,
    progress: Progress | None = None,
    isolate: bool = False,
) -> AnnotatedCorpus:
    """Make a corpus of the recordings in a folder that have an annotation next to them.

    Utterances, words, speakers and labels are those of the annotation. Features are those that the
    model `start` reads, so that it can be adapted to the labels; they are taken from the store or
    added to it. Dialogues are put into train, valid and test by the checksum of their recording.

    Args:
        start: a run folder, a model file, or "merc-offline".
        labels: the label set, in this order; default: the labels that occur. Utterances with
            another label are context only.
        unedited: also use results of merc that nobody has corrected.
        text_model: folder of the fine-tuned text encoder that `start` was trained with.
        jobs: number of worker processes; None: as many as cores and memory carry.
        isolate: decode no recording in this process, not even a single one.

    Raises MercError if nothing can be used, UsageError for unusable arguments.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder", "name the folder of the recordings")
    found = find_annotated(folder, unedited)
    predictor = Predictor.load(start)
    options = options_of(predictor.fingerprints, device)
    if text_model:
        options = replace(options, text_model=text_model)
    root = store or default_store()
    check_folder(root)
    Store(root).remove_stale()
    work = _Work(root, ExtractOptions(predictor.profile, options, tuple(predictor.widths)))
    made = {name: extractor.fingerprint for name, extractor in work.extractors.items()}
    predictor.check(made)
    progress = progress or NoProgress()
    progress.start(len(found.annotated))
    for failure in found.failures:
        progress.report(failure)
    results, failures = run_each(
        found.annotated, work, jobs=jobs, progress=progress, isolate=isolate
    )
    done, warnings = _without_copies([result for result in results if result is not None])
    warnings = [*found.warnings, *(w for result in done for w in result.warnings), *warnings]
    failures = [*found.failures, *failures]
    if not done:
        reasons = [str(reason) for reason in (*failures, *warnings)]
        raise MercError(
            "\n".join([*reasons, f"{folder}: no annotated recording that can be used"]),
            "put the annotation of each recording next to it, with the same name",
        )
    names, notes = _label_set(done, labels)
    warnings += [MercWarning("", note) for note in notes]
    splits = _splits(done)
    if not {"valid", "test"} <= set(splits.values()):
        text = "fewer than 3 dialogues with labels: all are in train; annotate more to train"
        warnings.append(MercWarning("", text))
    corpus = Corpus(
        folder.resolve().name,
        names,
        [result.dialogue(names, splits[result.id]) for result in done],
        {name: extractor.dim for name, extractor in work.extractors.items()},
        made,
        [f"Annotated recordings: {counted(len(done), 'dialogue')}.", *map(str, warnings)],
    )
    annotations = {result.id: result.annotation for result in done}
    return AnnotatedCorpus(corpus, root, annotations, warnings, failures)


@dataclass(frozen=True)
class _Labelled:
    """One recording with its features.

    labels: of each utterance, "" for none. sha256: of the recording.
    """

    id: str
    name: str
    annotation: str
    sha256: str
    segmentation: Segmentation
    labels: list[str]
    features: dict[str, np.ndarray]
    warnings: list[MercWarning] = field(default_factory=list)

    def dialogue(self, names: tuple[str, ...], split: str) -> Dialogue:
        plain = Dialogue.from_segmentation(self.id, self.segmentation, self.features, split)
        numbers = {name: k for k, name in enumerate(names)}
        labels = [numbers.get(label, -1) for label in self.labels]
        return replace(plain, labels=np.array(labels, np.int64))


class _Work(ExtractWork):
    """Read the utterances of one annotation and their features."""

    def __call__(self, item: AnnotatedRecording, stage: Stage) -> _Labelled:
        stage("open")
        store = Store(self.root)
        with open_media(item.recording.path) as media:
            allow_time(stage, media.duration)
            stage("annotation")
            warnings: list[MercWarning] = []
            rows = _usable(item, media, warnings)
            utterances = [Utterance(*(u[k] for k in FIELDS)) for u in rows]
            source = {
                "version": SOURCE_VERSION,
                "kind": "annotation",
                # without the labels: to correct one changes no feature
                "utterances": checksum([[u[k] for k in FIELDS] for u in rows]),
                "speakers": {"method": "given"},
            }
            segmentation = Segmentation(utterances, source)
            store.write_segmentation(media.sha256, source, segmentation)
            features = {}
            for modality, extractor in self.extractors.items():
                stage(modality)
                stored, _ = stored_features(store, media, segmentation, modality, extractor)
                features[modality] = stored.vectors
            store.add_name(media.sha256, printable(item.recording.path.name))
            subject = printable(item.recording)
            warnings += [MercWarning(subject, warning.text) for warning in media.warnings]
            labels = [label_of(row) for row in rows]
            return _Labelled(
                item.id,
                subject,
                printable(item.path),
                media.sha256,
                segmentation,
                ["" if label in (UNLABELLED, UNCERTAIN) else label for label in labels],
                features,
                warnings,
            )


FIELDS = ("start", "end", "text", "speaker")


def _usable(
    item: AnnotatedRecording, media: Media, warnings: list[MercWarning]
) -> list[dict[str, Any]]:
    """Return the utterances that lie in the recording; warn of all others.

    Raises MercError if the annotation is of another recording.
    """
    end, rows = media.duration, item.content["utterances"]
    warnings += [MercWarning(printable(item.path), text) for text in item.content["warnings"]]

    def warn(rows: list[dict[str, Any]], text: str) -> None:
        if rows:
            times = ", ".join(f"{row['start']:.1f}" for row in rows[:MAX_TIMES])
            more = ", ..." if len(rows) > MAX_TIMES else ""
            count = counted(len(rows), "utterance")
            warnings.append(
                MercWarning(printable(item.path), f"{count} {text}, at {times}{more} s")
            )

    _check_recording(item, media)
    fitted = [row | {"end": min(row["end"], end)} for row in rows]
    used = [row for row in fitted if row["end"] > row["start"]]
    warn([row for row in fitted if row["end"] <= row["start"]], "empty and left out")
    warn([row for row in used if label_of(row) == UNLABELLED], "without a label, context only")
    warn([row for row in used if label_of(row) == UNCERTAIN], "uncertain, context only")
    overlapping, last = [], dict[str, float]()
    for row in used:
        if row["start"] < last.get(row["speaker"], 0.0) - 0.01:
            overlapping.append(row)
        last[row["speaker"]] = max(row["end"], last.get(row["speaker"], 0.0))
    warn(overlapping, "overlapping another of the same speaker, used as annotated")
    if not used:
        raise MercError(f"{item.path}: no utterance that can be used", "annotate some")
    covered = max(row["end"] for row in used)
    if covered < end / 2:
        text = f"the annotation ends at {covered:.1f} s of {end:.1f} s; the rest is not used"
        warnings.append(MercWarning(printable(item.path), text))
    return used


def _check_recording(item: AnnotatedRecording, media: Media) -> None:
    """Raise MercError if the annotation is of another recording."""
    content, end = item.content, media.duration
    tolerance = max(TOLERANCE[0], TOLERANCE[1] * end)
    stated = content.get("duration")
    other = isinstance(stated, int | float) and abs(stated - end) > tolerance
    if other and content.get("sha256") != media.sha256:
        raise MercError(
            f"{item.path}: annotates another recording (of a recording of {stated:.1f} s; "
            f"{media.path.name} has {end:.1f} s)",
            "put it next to its own recording",
        )
    last = max(content["utterances"], key=lambda row: row["end"], default={"end": 0.0})
    if last["end"] > end + tolerance:
        raise MercError(
            f"{item.path}: annotates another recording, or has a wrong time (its utterance at "
            f"{last['start']:.1f} s ends at {last['end']:.1f} s; {media.path.name} has "
            f"{end:.1f} s)",
            "put it next to its own recording, or correct the time",
        )


def _without_copies(results: list[_Labelled]) -> tuple[list[_Labelled], list[MercWarning]]:
    """Keep each recording once: copies in two splits would leak."""
    first: dict[str, _Labelled] = {}
    warnings = []
    for result in results:
        other = first.setdefault(result.sha256, result)
        if other is not result:
            text = f"left out: the same recording as {other.name}"
            warnings.append(MercWarning(result.name, text))
    return list(first.values()), warnings


def _label_set(
    results: list[_Labelled], given: Sequence[str] | None
) -> tuple[tuple[str, ...], list[str]]:
    """Return the labels, and notes on labels that not all recordings use."""
    used = {result.id: Counter(filter(None, result.labels)) for result in results}
    total = sum(used.values(), Counter())
    names = tuple(given) if given else tuple(sorted(total))
    if len(names) < 2 or len(set(names)) != len(names):
        raise MercError(
            f"labels: {', '.join(names) or 'none'}; a model needs at least two different ones",
            "annotate more, or name them with --labels",
        )
    notes = []
    if unknown := sorted(set(total) - set(names)):
        count = counted(sum(total[name] for name in unknown), "utterance")
        notes.append(f"{count} with labels that --labels lacks, context only: {', '.join(unknown)}")
    for name in names:
        files = [key for key, labels in used.items() if labels[name]]
        if not files:
            notes.append(f"label {name!r} occurs nowhere")
        elif len(results) > 2 and len(files) == 1:
            notes.append(f"label {name!r} occurs in {files[0]} only")
    return names, notes


def _splits(results: list[_Labelled]) -> dict[str, str]:
    """Return id -> split."""
    labelled = {result.id: result.sha256 for result in results if any(result.labels)}
    splits = zip(labelled, split_recordings(list(labelled.values())), strict=True)
    return dict.fromkeys((result.id for result in results), "train") | dict(splits)


def split_recordings(checksums: Sequence[str]) -> list[str]:
    """Return the split of each recording, by its SHA-256.

    Of three recordings or more, each split has at least one; fewer are all in train. When others
    are added, hardly any moves from train to valid or test. So a model that is adapted again, with
    more recordings, is not scored on what its start was trained on.

    >>> split_recordings(["91" * 32, "05" * 32, "2b" * 32])
    ['train', 'test', 'valid']
    """
    splits = ["train"] * len(checksums)
    if len(checksums) < 3:
        return splits
    order = sorted(range(len(checksums)), key=lambda k: checksums[k])
    places = [int(checksums[k][:8], 16) / 16**8 for k in order]  # evenly over 0 to 1
    tests = min(max(1, bisect(places, SHARE)), len(order) - 2)
    valids = min(max(tests + 1, bisect(places, 2 * SHARE)), len(order) - 1)
    for number, k in enumerate(order[:valids]):
        splits[k] = "test" if number < tests else "valid"
    return splits
