"""Errors are isolated here, at the outermost loop over inputs, and nowhere else.

A failure is a row of `failures.csv`: input, stage, reason, remedy.  Inner code raises ValueError or OSError whose
message reads "what was wrong; what to do": the part after the last "; " is the remedy.
"""

from __future__ import annotations

import csv
import errno
import io
import os
import traceback
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any, Protocol

from pipeline.engines import Died, engine_map
from pipeline.files import write_text

__all__ = ["Failure", "Progress", "exit_code", "failure_of", "run_each", "write_failures"]

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Failure:
    """One input that could not be done."""

    input: str
    stage: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.input}: {self.reason}; {self.remedy} (stage: {self.stage})"


class Progress(Protocol):
    """What `run_each` tells while it works (`progress.Display`)."""

    def begin(self, index: int, name: str, stage: str, done: float | None) -> None: ...
    def end(self, index: int, name: str, failure: Failure | None) -> None: ...


def run_each(items: Sequence[Any], work: Callable[..., Any], *, jobs: int = 1,
             progress: Progress | None = None) -> tuple[list[Any], list[Failure]]:
    """Do `work(item, tell)` for every item, whatever becomes of the others.

    work calls `tell(stage, done=None)` as it enters a stage (done: share 0..1).  With jobs > 1 it runs in that many
    processes, so work, items and results must pickle: a frozen dataclass that opens its models lazily serves well.
    An item's name in failures is str(item).

    Returns results in the order of the items (None where an item failed), and the failures in that order.
    KeyboardInterrupt passes through after the workers have ended.
    """
    results: list[Any] = [None] * len(items)
    failed: dict[int, Failure] = {}
    stages: dict[int, str] = {}

    def on_stage(index: int, stage: str, done: float | None) -> None:
        stages[index] = stage
        if progress:
            progress.begin(index, printable(items[index]), stage, done)

    running = engine_map(_Guarded(work), items, jobs, on_stage)
    try:
        for index, outcome in running:
            if isinstance(outcome, Died):
                outcome = _failure_of_death(printable(items[index]), stages.get(index, "start"), outcome)
            if isinstance(outcome, Failure):
                failed[index] = outcome
            else:
                results[index] = outcome
            if progress:
                progress.end(index, printable(items[index]), failed.get(index))
    finally:
        running.close()  # type: ignore[attr-defined]
    return results, [failed[index] for index in sorted(failed)]


def exit_code(failures: Sequence[Failure]) -> int:
    """0 all done, 1 some inputs failed (2, unusable arguments, is known before anything runs)."""
    return 1 if failures else 0


def failure_of(name: str, stage: str, error: Exception) -> Failure:
    """A caught error as a row: reason and remedy out of its message, a default remedy by kind of error."""
    message = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.strerror and not isinstance(error, ValueError):
        message = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    for prefix in (f"{name}: ", f"{Path(name).name}: "):
        message = message.removeprefix(prefix)
    reason, _, remedy = message.rpartition("; ")
    if isinstance(error, OSError) and error.errno in NO_SPACE and not reason:
        reason, remedy = message, "free space on that disk, or name a folder on another one with --out"
    elif isinstance(error, PermissionError):
        reason, remedy = message, "give yourself the permission, or name another folder with --out"
    elif isinstance(error, MemoryError):
        reason, remedy = "out of memory", "close other programs, lower --jobs, or cut the file into parts"
    elif not isinstance(error, (ValueError, OSError)):
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {message} ({Path(where.filename).name}:{where.lineno})"
        remedy = "an error inside merc: please report it with this line and, if you may, the file"
    elif not reason:
        reason, remedy = message, "see `merc doctor`, and try the file in a media player"
    return Failure(name, stage, reason, remedy)


def write_failures(failures: Sequence[Failure], folder: Path) -> Path | None:
    """Write `failures.csv` into folder; without failures remove the list of an earlier run.

    A file of that name with other columns is somebody's own: then the list goes to `failures.merc.csv`.
    """
    path, header = folder / "failures.csv", [field.name for field in fields(Failure)]
    if path.exists() and _header(path) != header:
        path = folder / "failures.merc.csv"
    if not failures:
        if path.exists() and _header(path) == header:
            path.unlink()
        return None
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(header)
    writer.writerows(astuple(failure) for failure in failures)
    write_text(path, table.getvalue())
    return path


def printable(item: Any) -> str:
    """str(item) with bytes of a file name that are not UTF-8 replaced, so that it can be written and shown."""
    return os.fsencode(str(item)).decode("utf-8", "replace")


@dataclass(frozen=True)
class _Guarded:
    """work, with its exceptions returned as failures at the stage it told last."""

    work: Callable[..., Any]

    def __call__(self, item: Any, tell: Callable[..., None]) -> Any:
        stage = "start"

        def note(name: str, done: float | None = None) -> None:
            nonlocal stage
            stage = name
            tell(name, done)

        try:
            return self.work(item, note)
        except Exception as error:  # the outermost loop: one bad input never stops the others
            return failure_of(printable(item), stage, error)


def _failure_of_death(name: str, stage: str, died: Died) -> Failure:
    if died.exitcode == -9:
        return Failure(name, stage, "its process was killed, most likely for lack of memory",
                       "lower --jobs, close other programs, or cut the file into parts")
    return Failure(name, stage, f"its process ended with {died.exitcode}: a decoder or model crashed",
                   "convert the file (for instance with ffmpeg) and try again")


def _header(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return []
