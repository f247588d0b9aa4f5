"""Find the recordings that the paths on a command line name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import UsageError
from pipeline.core.failures import Failure, failure_of, printable
from pipeline.media.containers import MediaError, check_local

__all__ = ["EXTENSIONS", "Input", "check_transcript", "find_media"]

# what folders are searched for; a file that is named itself may have any extension
EXTENSIONS = frozenset(
    "3g2 3gp aac aif aiff asf avi caf flac flv m2ts m4a m4v mka mkv mov mp2 mp3 mp4 mpeg mpg mts "
    "mxf oga ogg ogv opus ts vob wav webm wma wmv".split()
)


@dataclass(frozen=True)
class Input:
    """A recording to process.

    folder: its folder relative to the folder named on the command line; "." if it was named itself.
    """

    path: Path
    folder: str = "."

    def __str__(self) -> str:
        return str(self.path)


def find_media(paths: Sequence[Path]) -> tuple[list[Input], list[Failure]]:
    """Find the recordings in files and folders, each once.

    Paths keep their order; the content of a folder is sorted. Hidden files and files that merc
    wrote (`*.merc.*`) are skipped.

    Returns:
        The recordings, and the paths that do not exist or hold no recordings.

    Raises UsageError if the only path fails.
    """
    recordings: dict[str, Input] = {}
    folders: dict[Path, str] = {}  # resolved once each, which 100,000 files in one folder need
    failures: list[Failure] = []
    for path in paths:
        try:
            if not path.is_dir() and not os.path.lexists(path):
                check_local(path)
            inputs, unreadable = _walk(path) if path.is_dir() else ([Input(path)], [])
        except (MediaError, OSError) as error:
            failures.append(failure_of(printable(path), "find", error))
            continue
        failures += unreadable
        if not inputs and not unreadable:
            reason, remedy = "no recordings in this folder", "check the path"
            failures.append(Failure(printable(path), "find", reason, remedy))
        for item in inputs:
            recordings.setdefault(_identity(item.path, folders), item)
    if failures and not recordings and len(paths) == 1:
        *others, last = failures
        lines = [f"{failure.input}: {failure.reason}; {failure.remedy}" for failure in others]
        raise UsageError("\n".join([*lines, f"{last.input}: {last.reason}"]), last.remedy)
    return list(recordings.values()), failures


def check_transcript(transcript: Path | None, inputs: Sequence[Input]) -> None:
    """Raise UsageError if a transcript does not exist or is given for several recordings."""
    if transcript and len(inputs) > 1:
        raise UsageError(
            f"--transcript {transcript}: one transcript for {len(inputs)} recordings",
            "put each transcript next to its recording, with the same name, and leave "
            "--transcript out",
        )
    if transcript and not transcript.is_file():
        raise UsageError(f"--transcript {transcript}: no such file", "check the path")


def _identity(path: Path, folders: dict[Path, str]) -> str:
    """Return the real path of a file. folders: those that are known, real path by path."""
    if os.path.islink(path):
        return os.path.realpath(path)
    parent = path.parent
    if parent not in folders:
        folders[parent] = os.path.realpath(parent)
    return os.path.join(folders[parent], path.name)


def _walk(root: Path) -> tuple[list[Input], list[Failure]]:
    inputs, failures = [], []

    def on_error(error: OSError) -> None:
        reason, remedy = f"cannot be read: {error.strerror}", "change the permissions of the folder"
        failures.append(Failure(printable(error.filename), "find", reason, remedy))

    for parent, folders, names in os.walk(root, onerror=on_error):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        folder = Path(parent)
        relative = str(folder.relative_to(root))
        for name in sorted(names):
            extension = name.rpartition(".")[2].lower()
            if extension in EXTENSIONS and not name.startswith(".") and ".merc." not in name:
                inputs.append(Input(folder / name, relative))
    return inputs, failures
