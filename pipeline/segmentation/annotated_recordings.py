"""Find the annotation of each recording in a folder."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.errors import MercError, MercWarning
from pipeline.core.failure_list import LISTS
from pipeline.core.failures import Failure, failure_of, printable
from pipeline.exports.rows import label_of
from pipeline.media.inputs import Input, find_media
from pipeline.segmentation.annotations import NoAnnotationError, read_annotation, stem_of
from pipeline.segmentation.labels import READERS

__all__ = ["AnnotatedRecording", "Found", "find_annotated"]

SUFFIXES = (".json", *READERS)  # of several equal annotations, the first of these is used
NOT_CORRECTED = (
    "labels of merc that nobody has corrected; not used, since a model learns nothing from itself "
    "(--unedited uses them)"
)


@dataclass(frozen=True)
class AnnotatedRecording:
    """A recording with its annotation; content: of `read_annotation`."""

    recording: Input
    path: Path
    content: dict[str, Any]

    def __str__(self) -> str:
        return str(self.recording)

    @property
    def id(self) -> str:
        """The recording's path in the folder, without its suffix."""
        return (Path(self.recording.folder) / self.recording.path.stem).as_posix()


@dataclass(frozen=True)
class Found:
    """What a folder holds. Every annotation is in one of these lists, so is every recording.

    A recording whose annotation is in one of them is not named again.
    """

    annotated: list[AnnotatedRecording] = field(default_factory=list)
    warnings: list[MercWarning] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


def find_annotated(folder: Path, unedited: bool = False) -> Found:
    """Pair the recordings in a folder with the annotations next to them.

    An annotation belongs to the recording that it names, or to the one of the same name. Of several
    of one recording, this is used: a JSON file with corrections; a file that merc did not write; a
    file that merc wrote in another format (`*.merc.eaf`), which people correct in place. A JSON
    file of merc without corrections is used only if `unedited`.

    Raises UsageError if there are no recordings.
    """
    recordings, failures = find_media([folder])
    found = Found(failures=list(failures))
    of_recording: dict[Path, list[tuple[Path, dict[str, Any]]]] = {
        item.path: [] for item in recordings
    }
    reported: set[Path] = set()  # recordings with a file that is no annotation, or cannot be read
    for path in _candidates(folder):
        content = _read(path, found, of_recording, reported)
        if content is None:
            continue
        recording = _recording_of(path, content["media"], of_recording)
        if recording is None:
            found.warnings.append(MercWarning(printable(path), "no recording of this annotation"))
        else:
            of_recording[recording].append((path, content))
    for item in recordings:
        if item.path in reported and not of_recording[item.path]:
            continue
        _choose(item, of_recording[item.path], unedited, found)
    return found


def _candidates(folder: Path) -> list[Path]:
    """List what may be annotations, next to recordings or not, sorted."""
    paths = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths += [
            Path(parent) / name
            for name in sorted(names)
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
            if name not in LISTS
        ]
    return paths


def _read(
    path: Path, found: Found, recordings: dict[Path, Any], reported: set[Path]
) -> dict[str, Any] | None:
    """Read an annotation; report it and return None if there is none in the file."""
    try:
        return read_annotation(path)
    except (MercError, OSError) as error:
        failure = failure_of(printable(path), "annotation", error)
        recording = _recording_of(path, "", recordings)
        if recording:
            reported.add(recording)
        if isinstance(error, NoAnnotationError):
            text = f"not used: {failure.reason}"
        elif recording:
            found.failures.append(failure)
            return None
        else:  # any file may lie in a folder
            text = f"not read as an annotation: {failure.reason}"
        found.warnings.append(MercWarning(printable(path), text))
        return None


def _recording_of(path: Path, media: str, recordings: dict[Path, Any]) -> Path | None:
    named = path.parent / media
    if media and named in recordings:
        return named
    stems = {stem_of(path), path.stem}
    return next((r for r in recordings if r.parent == path.parent and r.stem in stems), None)


def _choose(
    item: Input, annotations: list[tuple[Path, dict[str, Any]]], unedited: bool, found: Found
) -> None:
    """Add the best annotation of a recording to what is found, and report the others."""
    if not annotations:
        found.warnings.append(MercWarning(printable(item), "no annotation next to it"))
        return
    annotations = sorted(annotations, key=_rank)
    path, content = annotations[0]
    of_merc = [
        other for file, other in annotations if _is_merc(file, other) and not other.get("edited")
    ]
    unchanged = _rank(annotations[0])[0] >= 2 and any(
        _labels(content) == _labels(other) for other in of_merc
    )
    if unchanged and not unedited:
        found.warnings.append(MercWarning(printable(path), NOT_CORRECTED))
        return
    if not content["utterances"]:
        found.warnings.append(MercWarning(printable(path), "not used: it has no utterances"))
        return
    if others := [printable(other.name) for other, _ in annotations[1:]]:
        text = f"used instead of {', '.join(others)}"
        found.warnings.append(MercWarning(printable(path), text))
    found.annotated.append(AnnotatedRecording(item, path, content))


def _rank(annotation: tuple[Path, dict[str, Any]]) -> tuple[int, int, str]:
    """Return where an annotation stands among those of its recording; smaller is better."""
    path, content = annotation
    if _is_merc(path, content):
        kind = 0 if content.get("edited") else 3
    else:
        kind = 2 if path.stem.endswith(".merc") else 1
    return kind, SUFFIXES.index(path.suffix.lower()), path.name


def _is_merc(path: Path, content: dict[str, Any]) -> bool:
    """Whether this is a JSON file of merc, corrected or not."""
    return path.suffix.lower() == ".json" and bool(content["model"])


def _labels(content: dict[str, Any]) -> list[tuple[float, float, str, str]]:
    return [
        (round(u["start"], 2), round(u["end"], 2), u["speaker"], label_of(u))
        for u in content["utterances"]
    ]
