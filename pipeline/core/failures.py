"""Isolate errors per item: one broken input never stops the others.

Errors are caught here, at the outermost loop over inputs, and nowhere else. A failure is a row of
`failures.csv`: input, stage, reason, remedy.
"""

from __future__ import annotations

import csv
import math
import os
import traceback
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from pipeline.core.control_characters import escape_control_characters
from pipeline.core.errors import MercError, UsageError
from pipeline.core.files import write_bytes
from pipeline.core.os_errors import os_error
from pipeline.core.progress import NoProgress, Progress, Stage
from pipeline.core.spreadsheet import csv_bytes
from pipeline.core.worker_process import Send
from pipeline.core.workers import WorkerDied, map_items

__all__ = ["Failure", "failure_of", "printable", "run_each", "write_failures"]

TRIES = 2  # of an item whose process dies; the second one alone
START_SECONDS = 10.0  # of media; time to open an item and to load the models is that of so much
DEFAULT_FACTOR = 60.0  # s of work allowed for 1 s of media; $MERC_TIME_LIMIT replaces it


@dataclass(frozen=True)
class Failure:
    """An input that could not be processed.

    >>> print(Failure("talk.mp4", "open", "empty file", "copy it again"))
    talk.mp4: empty file; copy it again (stage: open)
    """

    input: str
    stage: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.input}: {self.reason}; {self.remedy} (stage: {self.stage})"


def run_each(
    items: Sequence[Any],
    work: Callable[[Any, Stage], Any],
    *,
    jobs: int = 1,
    progress: Progress | None = None,
) -> tuple[list[Any], list[Failure]]:
    """Run `work(item, stage)` for every item, whatever happens to the others.

    `work` calls `stage(name, done=None)` when it enters a stage. With jobs > 1 it runs in that
    many processes, so work, items and results must pickle: use a frozen dataclass that loads its
    models lazily. In failures an item is named str(item).

    With jobs > 1, an item whose process dies is tried once more, alone, after the others. A process
    that hangs is stopped: it has 600 s to open an item, and once `work` has called
    `progress.allow_time(stage, seconds of media)`, another 60 s for each of these seconds and 600 s
    besides. $MERC_TIME_LIMIT replaces the 60 and, in proportion, the 600.

    Returns:
        The results in the order of the items (None where an item failed), and the failures in the
        same order.

    KeyboardInterrupt passes through after the workers have ended.

    >>> def work(item, stage):
    ...     stage("divide")
    ...     if item == 0:
    ...         raise MercError("division by zero", "choose another number")
    ...     return 12 // item
    >>> results, failures = run_each([3, 0, 2], work)
    >>> results
    [4, None, 6]
    >>> print(*failures)
    0: division by zero; choose another number (stage: divide)
    """
    progress = progress or NoProgress()
    results: list[Any] = [None] * len(items)
    failures: dict[int, Failure] = {}
    stages: dict[int, str] = {}

    def on_stage(index: int, stage: str, done: float | None) -> None:
        stages[index] = stage
        progress.update(index, printable(items[index]), stage, done)

    finished = map_items(_Guarded(work, _time_factor()), items, jobs, on_stage, TRIES)
    try:
        for index, outcome in finished:
            name = printable(items[index])
            if isinstance(outcome, WorkerDied):
                outcome = _failure_of_death(name, stages.get(index, "start"), outcome)
            if isinstance(outcome, Failure):
                failures[index] = outcome
            else:
                results[index] = outcome
            progress.finish(index, name, failures.get(index))
    finally:
        finished.close()  # type: ignore[attr-defined]
    return results, [failures[index] for index in sorted(failures)]


def failure_of(name: str, stage: str, error: Exception) -> Failure:
    """Turn a caught error into a row: its reason and remedy, or a default remedy for its kind."""
    reason, remedy = _reason_and_remedy(error)
    reason = printable(" ".join(reason.split())) or type(error).__name__
    for prefix in (f"{name}: ", f"{Path(name).name}: "):
        reason = reason.removeprefix(prefix)
    return Failure(name, stage, reason, printable(" ".join(remedy.split())))


def _reason_and_remedy(error: Exception) -> tuple[str, str]:
    try_again = "run `merc doctor`, and try the file in a media player"
    if isinstance(error, MercError):
        return error.reason, error.remedy or try_again
    message = str(error)
    if isinstance(error, OSError):
        found = os_error(error)
        return found.reason, found.remedy
    if isinstance(error, MemoryError):
        return "out of memory", "close other programs, lower --jobs, or cut the file into parts"
    if isinstance(error, ValueError):
        return message, try_again
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frame.filename).name}:{frame.lineno}"
    return (
        f"{type(error).__name__}: {message} ({place})",
        "this is a bug in merc: please report it with this line and, if you may, the file",
    )


def write_failures(failures: Sequence[Failure], folder: Path) -> Path | None:
    """Write `failures.csv` into folder; without failures, remove the list of an earlier run.

    A file of that name with other columns is not merc's: the list then goes to
    `failures.merc.csv`.
    """
    path, header = folder / "failures.csv", [field.name for field in fields(Failure)]
    if path.exists() and _header(path) != header:
        path = folder / "failures.merc.csv"
    if not failures:
        if path.exists() and _header(path) == header:
            path.unlink()
        return None
    write_bytes(path, csv_bytes(header, [astuple(failure) for failure in failures]))
    return path


def printable(item: Any) -> str:
    """Return str(item) on one line.

    Control characters, and bytes of file names that are not UTF-8, become escapes such as \\xe9.
    """
    return escape_control_characters(str(item))


@dataclass(frozen=True)
class _Guarded:
    """`work` that returns its exceptions as failures at the last stage it reported."""

    work: Callable[[Any, Stage], Any]
    factor: float  # s of work allowed for 1 s of media

    def __call__(self, item: Any, send: Send) -> Any:
        stage = _Reporter(send, self.factor)
        stage.allow(0.0)
        try:
            return self.work(item, stage)
        except Exception as error:  # the outermost loop: one bad input never stops the others
            return failure_of(printable(item), stage.current, error)


@dataclass
class _Reporter:
    """A `Stage` that remembers the last stage, and limits the time of the item."""

    send: Send
    factor: float
    current: str = "start"

    def __call__(self, name: str, done: float | None = None) -> None:
        self.current = name
        self.send(name, done)

    def allow(self, seconds: float) -> None:
        self.send.allow(self.factor * (START_SECONDS + seconds))


def _time_factor() -> float:
    named = os.environ.get("MERC_TIME_LIMIT", "")
    try:
        factor = float(named or DEFAULT_FACTOR)
    except ValueError:
        factor = math.nan
    if not factor > 0:
        raise UsageError(
            f"MERC_TIME_LIMIT={named}: not a positive number",
            "give the seconds of work allowed for one second of media, such as 60",
        )
    return factor


def _failure_of_death(name: str, stage: str, died: WorkerDied) -> Failure:
    if died.hung is not None:
        return Failure(
            name,
            stage,
            f"its process did not finish within {died.hung:.0f} s and was stopped",
            "convert the file (for instance with ffmpeg) and try again, or allow more time: "
            "MERC_TIME_LIMIT=600 (seconds of work for one second of media)",
        )
    if died.exitcode == -9:
        return Failure(
            name,
            stage,
            "its process was killed twice, most likely because memory ran out",
            "lower --jobs, close other programs, or cut the file into parts",
        )
    return Failure(
        name,
        stage,
        f"its process ended twice, with {died.exitcode}: a decoder or model crashed",
        "convert the file (for instance with ffmpeg) and try again",
    )


def _header(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return []
