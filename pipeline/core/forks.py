"""Refuse to work in a fork of a process that has used its models.

The threads of native libraries (OpenMP, CTranslate2, OpenCV) are not in the copy, and it would wait
for them forever. `multiprocessing` forks by default on Linux before Python 3.14.
"""

from __future__ import annotations

import os

from pipeline.core.errors import MercError

__all__ = ["check_fork", "models_used"]

_used_in: int | None = None  # process id; in a fork, that of the process it was forked from


def models_used() -> None:
    """Note that this process starts the threads of its models. Raises as `check_fork` does."""
    global _used_in
    check_fork()
    _used_in = os.getpid()


def check_fork() -> None:
    """Raise MercError in a fork of a process that has used its models."""
    if _used_in not in (None, os.getpid()):
        raise MercError(
            "merc has used its models before this process was forked, and their threads are not "
            "in the copy",
            "start processes with multiprocessing.get_context('spawn')",
        )
