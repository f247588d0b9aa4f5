"""Pair the annotation files of two annotators."""

from __future__ import annotations

from pathlib import Path

from pipeline.core.errors import UsageError
from pipeline.core.failure_list import LISTS
from pipeline.segmentation.annotations import stem_of
from pipeline.segmentation.labels import READERS

__all__ = ["find_pairs"]

SUFFIXES = (".json", *READERS)  # of several files of a recording, the first of these is used


def find_pairs(one: Path, other: Path) -> tuple[list[tuple[Path, Path]], list[str]]:
    """Pair two files, or the files of the same names in two folders.

    Returns:
        The pairs, and notes on files of the folders that are in none.

    Raises UsageError if a path does not exist, a file is paired with a folder, or nothing matches.
    """
    for path in (one, other):
        if not path.exists():
            raise UsageError(f"{path}: no such file or folder", "check the path")
    if one.is_dir() != other.is_dir():
        raise UsageError(f"{one} and {other}: a file and a folder", "give two files or two folders")
    if not one.is_dir():
        return [(one, other)], []
    notes: list[str] = []
    first, second = _by_stem(one, notes), _by_stem(other, notes)
    stems = sorted(first.keys() & second.keys())
    if not stems:
        raise UsageError(
            f"{one} and {other}: no annotations of the same names",
            "name the files after their recordings, such as talk.merc.json and talk.eaf",
        )
    for mine, theirs, folder in ((first, second, other), (second, first, one)):
        for stem in sorted(mine.keys() - theirs.keys()):
            notes.append(f"{mine[stem]} is not compared: {folder} has no annotation of {stem}")
    return [(first[stem], second[stem]) for stem in stems], notes


def _by_stem(folder: Path, notes: list[str]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for suffix in SUFFIXES:
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() != suffix or not path.is_file() or path.name in LISTS:
                continue
            used = files.setdefault(stem_of(path), path)
            if used != path:
                notes.append(f"{path} is not compared: {used.name} of the same recording is")
    return files
