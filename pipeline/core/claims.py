"""Claims: what one of several processes has in work, so that no other begins it, too.

A claim only saves work. Results are written atomically, and two processes that make the same result
write the same bytes, so nothing is wrong where claims do not work (a file system without locks).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["CLAIMS", "claimed", "remove_claims"]

CLAIMS = ".claims"  # folder of the claims inside the folder that processes share


@contextmanager
def claimed(folder: Path, name: str) -> Iterator[bool]:
    """Claim `name` in a shared folder during the block; yield False if another process has it.

    The claim is the lock of a file. It ends with its process, however that ends.

    >>> with claimed(Path("store"), "a") as first, claimed(Path("store"), "a") as second:
    ...     first, second
    (True, False)
    """
    path = folder / CLAIMS / name
    handle = _open(path)
    if handle is None:  # the folder cannot be written: what matters will say so
        yield True
        return
    try:
        mine = _lock(handle)
        # another process may have removed the file, with its claim, since it was opened
        mine = mine and _is_same(handle, path)
        try:
            yield mine
        finally:
            if mine:
                _remove(path)
    finally:
        os.close(handle)


def remove_claims(folder: Path) -> None:
    """Remove the claims of killed processes."""
    with contextlib.suppress(OSError):
        for path in (folder / CLAIMS).iterdir():
            with claimed(folder, path.name):
                pass  # a claim is removed when it ends
        (folder / CLAIMS).rmdir()


def _open(path: Path) -> int | None:
    for _ in range(3):  # another process may remove the empty folder in between
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    return None


def _lock(handle: int) -> bool:
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):  # Windows, or a file system without locks
        return True
    return True


def _is_same(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except OSError:
        return False


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
        path.parent.rmdir()  # the last one
