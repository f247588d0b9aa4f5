"""Temporary files that tell whose they are, so that a later run removes those of killed ones.

A temporary file is named `.merc-<process id>-<random>.tmp` and locked as long as it is written.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

__all__ = ["make_temporary", "remove_stale"]

_NAME = re.compile(r"\.merc(?:-(?:([0-9]+)-)?\w+)?\.tmp")
_OLD = 3600.0  # s; no file is written for so long


def make_temporary(folder: Path) -> tuple[int, str]:
    """Create a temporary file in a folder; return its file descriptor and its path."""
    handle, path = tempfile.mkstemp(dir=folder, prefix=f".merc-{os.getpid()}-", suffix=".tmp")
    _lock(handle)
    return handle, path


def remove_stale(folders: Iterable[Path]) -> list[Path]:
    """Remove the temporary files of processes that have ended; return their paths.

    A file stays if its process runs, or if a process of another machine or container that shares
    the folder holds its lock. Folders that do not exist or cannot be read are passed over.

    >>> remove_stale([Path("results")])
    []
    """
    removed = []
    for folder in folders:
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                match = _NAME.fullmatch(entry.name)
                path = Path(entry.path)
                if match and entry.is_file(follow_symlinks=False) and _is_stale(path, match[1]):
                    with contextlib.suppress(OSError):
                        path.unlink()
                        removed.append(path)
    return removed


def _is_stale(path: Path, process: str | None) -> bool:
    try:
        # the process id may be another process now, and a clock may have been wrong by years
        if abs(time.time() - path.stat().st_mtime) > _OLD:
            return _is_unlocked(path)
        return process is not None and not _runs(int(process)) and _is_unlocked(path)
    except OSError:
        return False  # its process has just finished it


def _runs(process: int) -> bool:
    if os.name == "nt":
        return True  # os.kill would end it; an open file cannot be removed anyway
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _lock(handle: int) -> None:
    """Lock an open file until it is closed, where the system and the file system can."""
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_unlocked(path: Path) -> bool:
    try:
        import fcntl
    except ImportError:
        return True
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    finally:
        os.close(handle)
    return True
