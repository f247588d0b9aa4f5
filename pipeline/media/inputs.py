"""Find the recordings that the paths and URLs on a command line name."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import MercError, UsageError
from pipeline.core.failures import Failure, failure_of, printable
from pipeline.core.remote import RemoteFolder, as_typed, split_url, url_of
from pipeline.media.containers import MediaError, check_local

__all__ = ["EXTENSIONS", "Input", "check_transcript", "find_media", "size_of"]

# what folders are searched for; a file that is named itself may have any extension
EXTENSIONS = frozenset(
    "3g2 3gp aac aif aiff asf avi caf flac flv m2ts m4a m4v mka mkv mov mp2 mp3 mp4 mpeg mpg mts "
    "mxf oga ogg ogv opus ts vob wav webm wma wmv".split()
)
MAX_TRANSCRIPT = 64 << 20  # bytes of a file next to a recording at a URL that is downloaded


@dataclass(frozen=True)
class Input:
    """A recording to process.

    folder: its folder relative to the folder named on the command line; "." if it was named itself.
    url: where it lies, if that is not this machine; `path` is then its name alone. bytes: its size.
    """

    path: Path
    folder: str = "."
    url: str = ""
    bytes: int = 0

    def __str__(self) -> str:
        return self.url or str(self.path)

    @property
    def size(self) -> int:
        """Bytes of the file, for scheduling; 0 if it cannot be read."""
        return self.bytes if self.url else size_of(self.path)

    @contextmanager
    def local(self) -> Iterator[Path]:
        """Yield the path of a local copy, or of the file itself if it is local.

        Files next to it with the same name and another extension, which may be its transcript, are
        copied, too. Raises MercError if it cannot be downloaded; errors in the block name the URL.
        """
        if not self.url:
            yield self.path
            return
        parent, name = split_url(self.url)
        remote = RemoteFolder(parent)
        stem = Path(name).stem
        with tempfile.TemporaryDirectory(prefix="merc-input-") as folder:
            for other, size in remote.list().items():
                beside = "/" not in other and Path(other).stem == stem
                if beside and not _is_media(other) and size <= MAX_TRANSCRIPT:
                    remote.download(other, Path(folder) / other)
            try:
                remote.download(name, Path(folder) / name)
            except FileNotFoundError as error:
                raise MediaError(f"{self.url}: no such file", "check the address") from error
            try:
                yield Path(folder) / name
            except MercError as error:
                error.reason = error.reason.replace(f"{folder}{os.sep}", f"{parent}/")
                error.args = error.reason, error.remedy
                raise


def size_of(path: Path) -> int:
    """Return the bytes of a file; 0 if it cannot be read."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def find_media(paths: Sequence[Path], remote: bool = False) -> tuple[list[Input], list[Failure]]:
    """Find the recordings in files and folders, each once.

    remote: also at URLs (`core.remote`).

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
            url = url_of(path) if remote else None
            if url:
                inputs, unreadable = _list(url), list[Failure]()
            else:
                if not path.is_dir() and not os.path.lexists(path):
                    check_local(path)
                inputs, unreadable = _walk(path) if path.is_dir() else ([Input(path)], [])
        except (MercError, OSError) as error:
            failures.append(failure_of(printable(url_of(path) or as_typed(path)), "find", error))
            continue
        failures += unreadable
        if not inputs and not unreadable:
            reason, remedy = "no recordings in this folder", "check the path"
            failures.append(Failure(printable(path), "find", reason, remedy))
        for item in inputs:
            recordings.setdefault(item.url or _identity(item.path, folders), item)
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
        reason = "not a file" if transcript.exists() else "no such file"
        raise UsageError(f"--transcript {transcript}: {reason}", "check the path")


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
            if _is_media(name) and not name.startswith(".") and ".merc." not in name:
                inputs.append(Input(folder / name, relative))
    return inputs, failures


def _list(url: str) -> list[Input]:
    """List the recordings at a URL: that of a file, or all in a folder and below it."""
    parent, name = split_url(url)
    if _is_media(name):
        return [Input(Path(name), url=url, bytes=RemoteFolder(parent).list().get(name, 0))]
    inputs = []
    for path, size in RemoteFolder(url).list().items():
        *folders, name = path.split("/")
        hidden = any(part.startswith(".") for part in (*folders, name))
        if _is_media(name) and not hidden and ".merc." not in name:
            inputs.append(Input(Path(name), "/".join(folders) or ".", f"{url}/{path}", size))
    return inputs


def _is_media(name: str) -> bool:
    return name.rpartition(".")[2].lower() in EXTENSIONS
