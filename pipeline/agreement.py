"""Compare two annotations of the same recordings: emotions, speakers, times."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from pipeline.core.errors import MercError
from pipeline.core.files import json_ready, relative_path
from pipeline.exports import write_files
from pipeline.exports.page import Lane, page_path, render_agreement
from pipeline.exports.rows import UNCERTAIN, label_of
from pipeline.segmentation.agreement_of_times import compare_times
from pipeline.segmentation.annotation_pairs import find_pairs
from pipeline.segmentation.annotations import (
    UNLABELLED,
    find_recording,
    read_annotation,
    stem_of,
)

__all__ = ["agree", "match_utterances"]

LEAST_OVERLAP = 0.5  # intersection over union of the times of two utterances that are the same
NO_LABEL = {UNLABELLED, UNCERTAIN}
FEW = 0.5  # share of the utterances of the shorter annotation in pairs; below it, a warning


def agree(
    one: str | Path,
    other: str | Path,
    *,
    report: bool = False,
    out: str | Path | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Compare two annotation files, or two folders with files of the same names.

    Utterances are the same if their times overlap by half (intersection over union), each in one
    pair at most. Emotions are compared over these pairs, speakers and times over all of the time.

    Args:
        report: also write a page: `<name of one>.agreement.merc.html`, or `agreement.merc.html`
            of two folders.
        out: folder of the page; default: that of `one`.
        overwrite: whether the page may replace a file that merc did not write.

    Returns:
        utterances: counts of both and of pairs. labels, confusion: rows are `one`. agreement:
        share of pairs with the same emotion. kappa: Cohen's. alpha: Krippendorff's, nominal.
        speakers: diarization error and its parts, as shares of the speech of `one`, with names
        matched as well as possible. segmentation: purity, coverage and their F (Bredin 2017,
        pyannote.metrics). disagreements, unpaired utterances, warnings, and the path of the page.
        A figure that is not defined is None.

    Raises MercError if no utterances match, UsageError if no files do, OSError.

    >>> from pathlib import Path
    >>> rows = "start,end,speaker,text,emotion\\n0,1,Ann,Hi,joy\\n1,2,Ben,No,{}\\n"
    >>> for name, emotion in (("a", "anger"), ("b", "fear")):
    ...     _ = Path(f"{name}.csv").write_text(rows.format(emotion))
    >>> agree("a.csv", "b.csv")["agreement"]
    0.5
    """
    pairs, notes = find_pairs(Path(one), Path(other))
    contents = [(read_annotation(a), read_annotation(b)) for a, b in pairs]
    matched, disagreements, unpaired, lanes = [], [], [], []
    for (path, _), (first, second) in zip(pairs, contents, strict=True):
        _check_recording(path, first, second)
        sides = first["utterances"], second["utterances"]
        found = match_utterances(*sides)
        name = stem_of(path)
        notes += _pairing_notes(path, len(found), *map(len, sides))
        labels = [(label_of(a), label_of(b)) for a, b in found]
        matched += labels
        differ = [
            _row(name, u) | {"a": a, "b": b}
            for (u, _), (a, b) in zip(found, labels, strict=True)
            if a != b and not NO_LABEL & {a, b}
        ]
        alone = [
            _row(name, u) | {"in": side, "emotion": label_of(u)}
            for k, side in enumerate("ab")
            for u in _others(sides[k], [pair[k] for pair in found])
        ]
        disagreements += differ
        unpaired += alone
        shown = [[_row(name, u) | {"emotion": label_of(u)} for u in side] for side in sides]
        lanes.append(Lane(name, shown, differ, alone))
    if not matched:
        raise MercError(
            f"{one} and {other}: no utterances of the same times",
            "check that both annotate the same recording, and that neither is empty",
        )
    labelled = [pair for pair in matched if not NO_LABEL & set(pair)]
    if len(labelled) < len(matched):
        count = len(matched) - len(labelled)
        notes.append(f"{count} pairs without a label on one side, or uncertain, are not compared")
    notes += _label_notes(labelled)
    known = list(dict.fromkeys(label for pair in contents for c in pair for label in c["labels"]))
    spoken = [(first["utterances"], second["utterances"]) for first, second in contents]
    result = json_ready(
        {
            "files": [[str(a), str(b)] for a, b in pairs],
            "utterances": {
                "a": sum(len(a["utterances"]) for a, _ in contents),
                "b": sum(len(b["utterances"]) for _, b in contents),
                "pairs": len(matched),
            },
            **_emotions(labelled, known),
            **compare_times(spoken),
            "disagreements": disagreements,
            "unpaired": unpaired,
            "warnings": notes,
        }
    )
    if report:
        path = _page_path(Path(one), out)
        links = {
            lane.recording: _link(path, files, sides)
            for lane, files, sides in zip(lanes, pairs, contents, strict=True)
        }
        page = render_agreement(result, known, lanes, names=(str(one), str(other)), links=links)
        write_files({path: page}, overwrite)
        result["page"] = str(path)
    return result


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


def _row(recording: str, utterance: dict[str, Any]) -> dict[str, Any]:
    shared = {key: utterance[key] for key in ("start", "end", "speaker", "text")}
    return {"recording": recording, **shared}


def _others(
    utterances: Sequence[dict[str, Any]], paired: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    known = {id(utterance) for utterance in paired}
    return [utterance for utterance in utterances if id(utterance) not in known]


def _page_path(one: Path, out: str | Path | None) -> Path:
    name = "agreement" if one.is_dir() else f"{stem_of(one)}.agreement"
    folder = one if one.is_dir() else one.parent
    return page_path(Path(out or folder) / name)


def _link(page: Path, files: Sequence[Path], contents: Sequence[dict[str, Any]]) -> str:
    """Return the path of the dialogue's page, else of the recording, from `page`; else ""."""
    named = [(file, content["media"]) for file, content in zip(files, contents, strict=True)]
    stems = [(file, stem) for file, media in named for stem in (stem_of(file), Path(media).stem)]
    found = [page_path(file.parent / stem) for file, stem in stems if stem]
    found += [recording for file, media in named if (recording := find_recording(file, media))]
    target = next((path for path in found if path.is_file()), None)
    return relative_path(target, page.parent) if target else ""


def _check_recording(path: Path, one: dict[str, Any], other: dict[str, Any]) -> None:
    hashes = [content.get("sha256") for content in (one, other)]
    if all(hashes) and hashes[0] != hashes[1]:
        raise MercError(
            f"{path.name}: the two annotations are of different recordings ({one['media']} and "
            f"{other['media']}, by their checksums)",
            "compare annotations of the same recording",
        )


def _emotions(pairs: list[tuple[str, str]], known: Sequence[str]) -> dict[str, Any]:
    import krippendorff
    from sklearn.metrics import cohen_kappa_score

    labels = [label for label in known if any(label in pair for pair in pairs)]
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


def _pairing_notes(path: Path, pairs: int, one: int, other: int) -> list[str]:
    if not one or not other:
        return [f"{path.name}: an annotation of this recording has no utterances"] * (one != other)
    if not pairs:
        return [f"{path.name}: no utterance of one file has the times of one of the other"]
    if pairs < FEW * min(one, other):
        return [
            f"{path.name}: only {pairs} of {one} and {other} utterances have the same times: check "
            "that both annotate the same recording"
        ]
    return []


def _label_notes(pairs: list[tuple[str, str]]) -> list[str]:
    sides = [set(side) for side in zip(*pairs, strict=True)] or [set(), set()]
    notes = []
    for name, only in (("first", sides[0] - sides[1]), ("second", sides[1] - sides[0])):
        if only:
            notes.append(f"only the {name} annotation uses {', '.join(sorted(only))}")
    return notes
