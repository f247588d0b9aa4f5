"""Compare two annotations of the same recordings: emotions, speakers, times."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from pipeline.core.errors import MercError, UsageError
from pipeline.core.files import json_ready
from pipeline.exports.rows import UNCERTAIN, label_of
from pipeline.segmentation.annotations import UNLABELLED, read_annotation, stem_of
from pipeline.segmentation.labels import READERS

__all__ = ["agree", "find_pairs", "match_utterances"]

LEAST_OVERLAP = 0.5  # intersection over union of the times of two utterances that are the same
NO_LABEL = {UNLABELLED, UNCERTAIN}
SUFFIXES = (".json", *READERS)  # of several files of a recording, the first of these is used


def agree(one: str | Path, other: str | Path) -> dict[str, Any]:
    """Compare two annotation files, or two folders with files of the same names.

    Utterances are the same if their times overlap by half (intersection over union), each in one
    pair at most. Emotions are compared over these pairs, speakers and times over all of the time.

    Returns:
        utterances: counts of both and of pairs. labels, confusion: rows are `one`. agreement:
        share of pairs with the same emotion. kappa: Cohen's. alpha: Krippendorff's, nominal.
        speakers: diarization error and its parts, as shares of the speech of `one`, with names
        matched as well as possible. segmentation: purity, coverage and their F (Bredin 2017,
        pyannote.metrics). disagreements, warnings. A figure that is not defined is None.

    Raises MercError if no utterances match, UsageError if no files do.

    >>> from pathlib import Path
    >>> rows = "start,end,speaker,text,emotion\\n0,1,Ann,Hi,joy\\n1,2,Ben,No,{}\\n"
    >>> for name, emotion in (("a", "anger"), ("b", "fear")):
    ...     _ = Path(f"{name}.csv").write_text(rows.format(emotion))
    >>> agree("a.csv", "b.csv")["agreement"]
    0.5
    """
    pairs = find_pairs(Path(one), Path(other))
    contents = [(read_annotation(a), read_annotation(b)) for a, b in pairs]
    rows, matched, notes = [], [], []
    for (path, _), (first, second) in zip(pairs, contents, strict=True):
        _check_recording(path, first, second)
        found = match_utterances(first["utterances"], second["utterances"])
        if not found and (first["utterances"] or second["utterances"]):
            notes.append(f"{path.name}: no utterance of one file has the times of one of the other")
        for a, b in found:
            matched.append((label_of(a), label_of(b)))
            shared = {key: a[key] for key in ("start", "end", "speaker", "text")}
            rows.append({"recording": stem_of(path), **shared})
    if not matched:
        raise MercError(
            f"{one} and {other}: no utterances of the same times",
            "check that both annotate the same recording",
        )
    labelled = [pair for pair in matched if not NO_LABEL & set(pair)]
    if len(labelled) < len(matched):
        count = len(matched) - len(labelled)
        notes.append(f"{count} pairs without a label on one side, or uncertain, are not compared")
    notes += _label_notes(labelled)
    speech = [[_speech(c) for c in pair] for pair in contents]
    return json_ready(
        {
            "files": [[str(a), str(b)] for a, b in pairs],
            "utterances": {
                "a": sum(len(a["utterances"]) for a, _ in contents),
                "b": sum(len(b["utterances"]) for _, b in contents),
                "pairs": len(matched),
            },
            **_emotions(labelled),
            "speakers": _speakers(speech),
            "segmentation": _segmentation(speech),
            "disagreements": [
                row | {"a": a, "b": b}
                for row, (a, b) in zip(rows, matched, strict=True)
                if a != b and not NO_LABEL & {a, b}
            ],
            "warnings": notes,
        }
    )


def find_pairs(one: Path, other: Path) -> list[tuple[Path, Path]]:
    """Pair two files, or the files of the same names in two folders.

    Raises UsageError if a path does not exist, a file is paired with a folder, or nothing matches.
    """
    for path in (one, other):
        if not path.exists():
            raise UsageError(f"{path}: no such file or folder", "check the path")
    if one.is_dir() != other.is_dir():
        raise UsageError(f"{one} and {other}: a file and a folder", "give two files or two folders")
    if not one.is_dir():
        return [(one, other)]
    first, second = _by_stem(one), _by_stem(other)
    pairs = [(first[stem], second[stem]) for stem in sorted(first.keys() & second.keys())]
    if not pairs:
        raise UsageError(
            f"{one} and {other}: no annotations of the same names",
            "name the files after their recordings, such as talk.merc.json and talk.eaf",
        )
    return pairs


def match_utterances(
    one: Sequence[dict[str, Any]], other: Sequence[dict[str, Any]]
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Pair the utterances of two annotations so that the overlap of all pairs is largest.

    >>> a = [{"start": 0.0, "end": 1.0}, {"start": 1.0, "end": 2.0}]
    >>> match_utterances(a, [{"start": 1.1, "end": 2.0}]) == [(a[1], {"start": 1.1, "end": 2.0})]
    True
    """
    if not one or not other:
        return []
    start, end = (np.array([u[key] for u in one])[:, None] for key in ("start", "end"))
    begin, stop = (np.array([u[key] for u in other])[None] for key in ("start", "end"))
    shared = np.clip(np.minimum(end, stop) - np.maximum(start, begin), 0, None)
    union = np.maximum((end - start) + (stop - begin) - shared, 1e-9)
    overlap = np.where(shared / union >= LEAST_OVERLAP, shared / union, 0.0)
    pairs = zip(*linear_sum_assignment(overlap, maximize=True), strict=True)
    return [(one[i], other[j]) for i, j in pairs if overlap[i, j] > 0]


def _by_stem(folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for suffix in reversed(SUFFIXES):
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() == suffix and path.is_file():
                files[stem_of(path)] = path
    return files


def _check_recording(path: Path, one: dict[str, Any], other: dict[str, Any]) -> None:
    hashes = [content.get("sha256") for content in (one, other)]
    if all(hashes) and hashes[0] != hashes[1]:
        raise MercError(
            f"{path.name}: the two annotations are of different recordings ({one['media']} and "
            f"{other['media']}, by their checksums)",
            "compare annotations of the same recording",
        )


def _emotions(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    import krippendorff
    from sklearn.metrics import cohen_kappa_score

    labels = list(dict.fromkeys(label for pair in pairs for label in pair))
    figures: dict[str, Any] = {"labels": labels, "confusion": [], "agreement": None}
    figures |= {"kappa": None, "alpha": None}
    if not pairs:
        return figures
    codes = np.array([[labels.index(a), labels.index(b)] for a, b in pairs]).T
    confusion = np.zeros((len(labels), len(labels)), int)
    np.add.at(confusion, tuple(codes), 1)
    figures["confusion"] = confusion.tolist()
    figures["agreement"] = float((codes[0] == codes[1]).mean())
    if len(labels) > 1:  # else chance agreement is 1, and 0 / 0 is not defined
        figures["kappa"] = float(cohen_kappa_score(*codes))
        figures["alpha"] = float(
            krippendorff.alpha(codes.astype(float), level_of_measurement="nominal")
        )
    return figures


def _label_notes(pairs: list[tuple[str, str]]) -> list[str]:
    sides = [set(side) for side in zip(*pairs, strict=True)] or [set(), set()]
    notes = []
    for name, only in (("first", sides[0] - sides[1]), ("second", sides[1] - sides[0])):
        if only:
            notes.append(f"only the {name} annotation uses {', '.join(sorted(only))}")
    return notes


def _speech(content: dict[str, Any]) -> Any:
    """Return the utterances as an annotation of pyannote."""
    from pyannote.core import Annotation, Segment

    speech = Annotation()
    for index, utterance in enumerate(content["utterances"]):
        if utterance["end"] > utterance["start"]:
            speech[Segment(utterance["start"], utterance["end"]), index] = utterance["speaker"]
    return speech


def _extent(*speeches: Any) -> Any:
    from pyannote.core import Segment, Timeline

    spans = [speech.get_timeline().extent() for speech in speeches if speech]
    return Timeline([Segment(min(s.start for s in spans), max(s.end for s in spans))])


def _speakers(speech: list[list[Any]]) -> dict[str, float | None] | None:
    """Return the diarization error; None if one side names no speakers."""
    from pyannote.metrics.diarization import DiarizationErrorRate

    for side in zip(*speech, strict=True):
        if {name for annotation in side for name in annotation.labels()} <= {""}:
            return None
    metric = DiarizationErrorRate()
    for one, other in speech:
        if one or other:
            metric(one, other, uem=_extent(one, other))
    found: Any = metric[:]  # type: ignore[index]
    total = found["total"] or math.nan
    parts = {"missed": "missed detection", "extra": "false alarm", "confused": "confusion"}
    return {"error": abs(metric)} | {name: found[key] / total for name, key in parts.items()}


def _segmentation(speech: list[list[Any]]) -> dict[str, float]:
    from pyannote.metrics.segmentation import SegmentationPurityCoverageFMeasure

    metric = SegmentationPurityCoverageFMeasure()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an extent that it approximates, as it is here
        for one, other in speech:
            if one and other:
                metric(one, other)
    purity, coverage, f = metric.compute_metrics()
    return {"purity": purity, "coverage": coverage, "f": f}
