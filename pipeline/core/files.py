"""Files that are whole or absent: written to a temporary name, flushed, renamed."""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path
from typing import Any

from pipeline.core.errors import UsageError

__all__ = ["cache_folder", "check_folder", "data_folder", "json_ready", "write_bytes", "write_text"]


def write_bytes(path: Path, data: bytes) -> None:
    """Write atomically; a process killed at any instant leaves the old file or the new one.

    Raises OSError naming the file (no space, no permission, a file where a folder should be).
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".merc-", suffix=".tmp")
    except OSError as error:
        raise OSError(error.errno, f"cannot write {path}: {error.strerror}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(
            temporary, 0o666 & ~_umask()
        )  # mkstemp makes 0600: others could not read our output
        os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, f"cannot write {path}: {error.strerror}") from error
        raise


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of UTF-8 text."""
    write_bytes(path, text.encode("utf-8"))


def cache_folder() -> Path:
    """Where merc keeps what it can make again: $XDG_CACHE_HOME/merc, %LOCALAPPDATA%\\merc or ~/.cache/merc."""
    base = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "merc"


def data_folder(data: Path | None) -> Path | None:
    """Return where a corpus' files are: `data`, else $MERC_DATA, else None."""
    named = data or os.environ.get("MERC_DATA")
    return Path(named) if named else None


def check_folder(folder: Path) -> None:
    """Raise UsageError if folder cannot be written to; creates nothing."""
    for place in (folder, *folder.absolute().parents):
        if place.is_dir():
            if not os.access(place, os.W_OK | os.X_OK):
                raise UsageError(
                    f"{folder}: no permission to write there", "name another folder with --out"
                )
            return
        if os.path.lexists(place):
            raise UsageError(
                f"{folder}: {place} is a file, not a folder", "name another folder with --out"
            )


def json_ready(value: Any) -> Any:
    """Convert numpy scalars to Python's, and NaN or infinity to None: JSON has neither."""
    if isinstance(value, dict):
        return {str(key): json_ready(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(item) for item in value]
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
