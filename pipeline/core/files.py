"""Write files atomically, find merc's folders, and convert numpy values for JSON."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.core.errors import UsageError
from pipeline.core.os_errors import WriteError, cause_of
from pipeline.core.temporary import make_temporary

__all__ = [
    "cache_folder",
    "check_folder",
    "check_room",
    "data_folder",
    "json_ready",
    "relative_path",
    "replacing",
    "write_bytes",
    "write_text",
]

_ROOM = 1 << 20  # bytes


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file that takes the place of `path` if the block succeeds.

    A process killed at any moment leaves the old file or the new one. Creates missing folders.
    Raises WriteError (no space, no permission, a file where a folder should be).

    >>> with replacing(Path("a.txt")) as temporary:
    ...     _ = temporary.write_text("new")
    >>> Path("a.txt").read_text()
    'new'
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = make_temporary(path.parent)
    except OSError as error:
        raise WriteError(path, error) from error
    try:
        with os.fdopen(handle, "wb") as file:
            yield Path(temporary)
            os.fsync(file.fileno())
        # mkstemp creates files with mode 0600, which other users could not read
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise WriteError(path, error) from error
        raise


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically; see `replacing`. Raises WriteError."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, atomically."""
    write_bytes(path, text.encode("utf-8"))


def cache_folder() -> Path:
    """Return the folder for files that merc can recreate.

    It is $XDG_CACHE_HOME/merc, on Windows %LOCALAPPDATA%\\merc, by default ~/.cache/merc.
    """
    base = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "merc"


def data_folder(data: Path | None) -> Path | None:
    """Return the folder of a corpus: `data` if given, else $MERC_DATA, else None."""
    named = data or os.environ.get("MERC_DATA")
    return Path(named) if named else None


def check_folder(folder: Path) -> None:
    """Raise UsageError if nothing can be written to a folder. Leaves nothing behind."""
    remedy = "name another folder with --out"
    try:
        for parent in (folder, *folder.absolute().parents):
            if parent.is_dir():
                # permissions alone do not tell: the disk may be full, or no disk at all (/proc)
                with tempfile.TemporaryFile(dir=parent):
                    return
            if os.path.lexists(parent):
                raise UsageError(f"{folder}: {parent} is a file, not a folder", remedy)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {cause_of(error)}", remedy) from error


def check_room(folder: Path) -> None:
    """Raise WriteError if a megabyte more cannot be written to a folder. Leaves nothing behind.

    To be called before work whose result would be lost.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_ROOM))
    except OSError as error:
        raise WriteError(folder, error) from error


def json_ready(value: Any) -> Any:
    """Convert numpy scalars to Python's, and NaN and infinity to None: JSON has neither.

    >>> json_ready({"margin": float("nan"), "spans": (1, 2)})
    {'margin': None, 'spans': [1, 2]}
    """
    if isinstance(value, dict):
        return {str(key): json_ready(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(item) for item in value]
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def relative_path(path: Path, folder: Path) -> str:
    """Return the path from a folder, with forward slashes; absolute on another drive.

    >>> relative_path(Path("a/talk.mp4"), Path("b"))
    '../a/talk.mp4'
    """
    try:
        return Path(os.path.relpath(path.absolute(), folder.absolute())).as_posix()
    except ValueError:
        return path.absolute().as_posix()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
