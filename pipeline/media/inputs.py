"""PATHS of a command line to media files: folders are walked, what is missing is told."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import UsageError
from pipeline.core.failures import Failure, failure_of, printable
from pipeline.media.containers import MediaError, check_local

__all__ = ["MEDIA", "Input", "check_transcript", "find_media"]

# what a folder is searched for; a file named outright is tried whatever its name
MEDIA = frozenset(
    "3g2 3gp aac aif aiff asf avi caf flac flv m2ts m4a m4v mka mkv mov mp2 mp3 mp4 mpeg mpg mts mxf oga "
    "ogg ogv opus ts vob wav webm wma wmv".split()
)


@dataclass(frozen=True)
class Input:
    """One medium.  folder: where it lay below the folder named on the command line ('.' if named itself)."""

    path: Path
    folder: str = "."

    def __str__(self) -> str:
        return str(self.path)


def find_media(paths: Sequence[Path]) -> tuple[list[Input], list[Failure]]:
    """All media of files and folders, in the order named and sorted inside folders, each once.

    Skips hidden files and what merc wrote (`*.merc.*`).  A path that is missing, or a folder without media, is a
    failure among several paths and a UsageError alone.
    """
    found: dict[Path, Input] = {}
    failures: list[Failure] = []
    for path in paths:
        try:
            if not path.is_dir() and not os.path.lexists(path):
                check_local(path)
            media, unreadable = _walk(path) if path.is_dir() else ([Input(path)], [])
        except (
            MediaError,
            OSError,
        ) as error:  # missing, a network name, a name too long, no permission
            failures.append(failure_of(printable(path), "find", error))
            continue
        failures += unreadable
        if not media and not unreadable:
            failures.append(
                Failure(
                    printable(path),
                    "find",
                    "no media in this folder",
                    "check the spelling and the path",
                )
            )
        for medium in media:
            found.setdefault(medium.path.resolve(), medium)
    if failures and not found and len(paths) == 1:
        raise UsageError(
            "\n".join(
                f"{failure.input}: {failure.reason}; {failure.remedy}" for failure in failures
            )
        )
    return list(found.values()), failures


def check_transcript(transcript: Path | None, media: Sequence[Input]) -> None:
    """Raise UsageError for a transcript that is missing, or one for several media."""
    if transcript and len(media) > 1:
        raise UsageError(
            f"--transcript {transcript}: one transcript for {len(media)} media; put each beside its "
            "medium under the same stem"
        )
    if transcript and not transcript.is_file():
        raise UsageError(f"--transcript {transcript}: no such file")


def _walk(root: Path) -> tuple[list[Input], list[Failure]]:
    media, failures = [], []

    def unreadable(error: OSError) -> None:
        failures.append(
            Failure(
                printable(error.filename),
                "find",
                f"cannot be read: {error.strerror}",
                "give yourself the permission to read this folder",
            )
        )

    for place, folders, names in os.walk(root, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            kind = name.rpartition(".")[2].lower()
            if kind in MEDIA and not name.startswith(".") and ".merc." not in name:
                folder = Path(place)
                media.append(Input(folder / name, str(folder.relative_to(root))))
    return media, failures
