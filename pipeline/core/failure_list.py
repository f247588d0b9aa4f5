"""`failures.csv`: what failed in a folder, until a run succeeds with it."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from dataclasses import astuple, fields
from pathlib import Path

from pipeline.core.failures import Failure, printable
from pipeline.core.files import write_bytes
from pipeline.core.spreadsheet import csv_bytes, csv_text

__all__ = ["LISTS", "write_failures"]

LISTS = ("failures.csv", "failures.merc.csv")
HEADER = [item.name for item in fields(Failure)]


def write_failures(
    failures: Sequence[Failure], folder: Path, inputs: Iterable[str | Path]
) -> Path | None:
    """Write `failures.csv` into folder. Rows of earlier runs with other inputs stay in it.

    A file of that name with other columns is not merc's: the list then goes to
    `failures.merc.csv`. A list without rows is removed.

    Args:
        inputs: what this run was given: files, folders, URLs. The rows of these inputs, and of
            files in these folders, are replaced.

    Returns:
        The list; None if there are no failures in this run.

    >>> talk, song = (Failure(name, "open", "empty file", "copy it") for name in ("a.mp4", "b.mp4"))
    >>> path = write_failures([talk, song], Path.cwd(), ["a.mp4", "b.mp4"])
    >>> write_failures([], Path.cwd(), ["b.mp4"])
    >>> print(path.read_text("utf-8-sig"), end="")
    input,stage,reason,remedy
    a.mp4,open,empty file,copy it
    """
    path, before = folder / LISTS[0], None
    if path.exists() and (before := _rows(path)) is None:
        path = folder / LISTS[1]
        before = _rows(path) if path.exists() else []
    names = {_absolute(name) for name in (*inputs, *(failure.input for failure in failures))}
    others = [row for row in before or [] if not row or not _is_within(_absolute(row[0]), names)]
    rows = [*others, *(list(astuple(failure)) for failure in failures)]
    if rows and rows != before:
        write_bytes(path, csv_bytes(HEADER, rows))
    elif not rows and before is not None:
        path.unlink(missing_ok=True)
    return path if failures else None


def _rows(path: Path) -> list[list[str]] | None:
    """Read the rows of a list; None if it is not a list of merc."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header, *rows = [[csv_text(cell) for cell in row] for row in csv.reader(file)]
    except (OSError, ValueError, csv.Error):
        return None
    return rows if header == HEADER else None


def _absolute(name: str | Path) -> str:
    """Return one spelling of an input. A `Path` of a URL has lost one of the two slashes."""
    return printable(os.path.abspath(name))


def _is_within(name: str, folders: set[str]) -> bool:
    """Say whether a path is one of these, or in one of these folders."""
    return name in folders or any(str(parent) in folders for parent in Path(name).parents)
