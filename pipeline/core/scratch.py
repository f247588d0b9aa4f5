"""Folders of temporary files that must not outlive the process, such as somebody's voice."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["remove_scratch", "scratch_folder"]

_folders: set[Path] = set()  # in use: a process that ends at once runs no `finally`


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """Make a temporary folder for the block."""
    with tempfile.TemporaryDirectory(prefix=prefix) as name:
        folder = Path(name)
        _folders.add(folder)
        try:
            yield folder
        finally:
            _folders.discard(folder)


def remove_scratch() -> None:
    """Remove the folders that are in use: the process is about to end without cleaning up."""
    for folder in list(_folders):
        shutil.rmtree(folder, ignore_errors=True)
