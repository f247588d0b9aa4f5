"""Isolate errors per item: one broken input never stops the others.

Errors are caught here, at the outermost loop over inputs, and nowhere else. A failure is a row of
`failures.csv` (`failure_list`): input, stage, reason, remedy.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.control_characters import escape_control_characters
from pipeline.core.engine import Send
from pipeline.core.errors import MercError
from pipeline.core.os_errors import os_error
from pipeline.core.progress import NoProgress, Progress, Stage
from pipeline.core.ray_engine import Cluster
from pipeline.core.resources import default_jobs, memory_limit, positive_number
from pipeline.core.workers import WorkerDied, map_items

__all__ = ["Failure", "Later", "failure_of", "printable", "run_each"]

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


@dataclass(frozen=True)
class Later:
    """Returned by `work`: another process has this item in work; come back after the others.

    When `work` is called for it again, `stage.again` is True, and it must wait instead.
    """


def run_each(
    items: Sequence[Any],
    work: Callable[[Any, Stage], Any],
    *,
    jobs: int | None = 1,
    progress: Progress | None = None,
    size: Callable[[Any], float] | None = None,
    costs: dict[str, float] | None = None,
    cluster: Cluster | None = None,
    isolate: bool = False,
) -> tuple[list[Any], list[Failure]]:
    """Run `work(item, stage)` for every item, whatever happens to the others.

    `work` calls `stage(name, done=None)` when it enters a stage. With jobs > 1 it runs in that
    many processes, so work, items and results must pickle: use a frozen dataclass that loads its
    models lazily. In failures an item is named str(item).

    `work.check`, if there is one, is called before each item, where the item is worked on; it loads
    the models, and so costs something once per process. What it raises first ends the run, as a
    MercError.

    jobs: None takes as many processes as the cores and the free memory carry; several items are
        then never worked on in this process.
    isolate: work on no item in this process, not even on a single one.
    size: with several processes, items begin with the largest, so that none is left for the end.
    costs: stage -> CPU seconds; those of this run are added.
    cluster: run the processes there; see `workers.map_items`.

    In processes of their own, an item whose process dies is tried once more, alone, after the
    others. A process that hangs is stopped: it has 600 s to open an item, and once `work` has
    called `progress.allow_time(stage, seconds of media)`, another 60 s for each of these seconds
    and 600 s besides. $MERC_TIME_LIMIT replaces the 60 and, in proportion, the 600. All processes
    together may take 90 % of the memory that is free at the start, or $MERC_MEMORY_LIMIT GiB; one
    that takes more than its share is stopped and its item tried again alone.

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
    run = _Run(items, work, progress or NoProgress(), {} if costs is None else costs, cluster)
    order = list(range(len(items)))
    if size and (jobs != 1 or cluster):
        order.sort(key=lambda index: -size(items[index]))
    isolate = isolate or (len(items) > 1 and jobs is None)
    if jobs is None and not cluster:
        jobs = default_jobs(len(items))
    later = run.map(order, jobs, isolate, again=len(items) == 1)  # nothing to do meanwhile
    if later:
        run.map(later, jobs, isolate, again=True)
    return run.results, [run.failures[index] for index in sorted(run.failures)]


class _Run:
    """The results and failures of a run, by the index of the item."""

    def __init__(
        self,
        items: Sequence[Any],
        work: Callable[[Any, Stage], Any],
        progress: Progress,
        costs: dict[str, float],
        cluster: Cluster | None,
    ) -> None:
        self.items, self.work, self.progress, self.costs = items, work, progress, costs
        self.cluster = cluster
        self.results: list[Any] = [None] * len(items)
        self.failures: dict[int, Failure] = {}
        self.checked = False

    def map(
        self, order: list[int], jobs: int | None, isolate: bool, again: bool = False
    ) -> list[int]:
        """Work on the items of `order`; return those that returned `Later`."""
        stages: dict[int, str] = {}
        names = [printable(self.items[index]) for index in order]

        def on_stage(number: int, stage: str, done: float | None) -> None:
            stages[number] = stage
            self.progress.update(order[number], names[number], stage, done)

        later = []
        finished = map_items(
            _Guarded(self.work, _time_factor(), again),
            [self.items[index] for index in order],
            jobs,
            on_stage,
            TRIES,
            isolate,
            memory_limit(jobs) if jobs and (isolate or jobs > 1) else None,
            self.cluster,
        )
        try:
            for number, outcome in finished:
                index, name = order[number], names[number]
                if isinstance(outcome, WorkerDied):
                    outcome = _failure_of_death(name, stages.get(number, "start"), outcome)
                else:
                    for stage, seconds in outcome.costs.items():
                        self.costs[stage] = self.costs.get(stage, 0.0) + seconds
                    outcome = self._checked(name, outcome.result)
                if isinstance(outcome, Later):
                    later.append(index)
                    continue
                if isinstance(outcome, Failure):
                    self.failures[index] = outcome
                else:
                    self.results[index] = outcome
                self.progress.finish(index, name, self.failures.get(index))
        finally:
            finished.close()  # type: ignore[attr-defined]
        return later

    def _checked(self, name: str, result: Any) -> Any:
        """Raise what would fail with every item.

        If models could be loaded before, something has happened to one process: a failure.
        """
        if not isinstance(result, _Unusable):
            self.checked = True
            return result
        if not self.checked:
            raise result.error
        return failure_of(name, "start", result.error)


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
    again: bool

    def check(self) -> None:
        getattr(self.work, "check", lambda: None)()

    def __call__(self, item: Any, send: Send) -> _Outcome:
        stage = _Reporter(send, self.factor, self.again)
        stage.allow(0.0)
        result = self._try_check() or self._try_work(item, stage)
        stage.charge()
        return _Outcome(result, stage.costs)

    def _try_check(self) -> _Unusable | None:
        try:
            self.check()
        except MercError as error:
            return _Unusable(error)
        except Exception as error:  # of a library; it may not survive pickling
            return _Unusable(MercError(*_reason_and_remedy(error)))
        return None

    def _try_work(self, item: Any, stage: _Reporter) -> Any:
        try:
            return self.work(item, stage)
        except Exception as error:  # the outermost loop: one bad input never stops the others
            return failure_of(printable(item), stage.current, error)


@dataclass(frozen=True)
class _Unusable:
    """What `work.check` has raised."""

    error: MercError


@dataclass(frozen=True)
class _Outcome:
    """What `work` returned for an item, and the CPU seconds of each of its stages."""

    result: Any
    costs: dict[str, float]


@dataclass
class _Reporter:
    """A `Stage` that remembers the last stage and its cost, and limits the time of the item."""

    send: Send
    factor: float
    again: bool  # the item was put off before
    current: str = "start"
    account: str = "start"  # which costs are charged to: the stage, or a sum with others
    costs: dict[str, float] = field(default_factory=dict)
    since: float = field(default_factory=time.process_time)

    def __call__(self, name: str, done: float | None = None) -> None:
        self.charge()
        self.current = self.account = name
        self.send(name, done)

    def charge(self) -> None:
        """Charge the CPU seconds since the last call."""
        now = time.process_time()
        self.costs[self.account] = self.costs.get(self.account, 0.0) + now - self.since
        self.since = now

    def add(self, names: Iterable[str]) -> None:
        """Replace the costs of these stages, the current one among them, by their sum."""
        self.charge()
        costs = {name: self.costs.pop(name) for name in names}
        self.account = " + ".join(costs)
        self.costs[self.account] = self.costs.get(self.account, 0.0) + sum(costs.values())

    def allow(self, seconds: float) -> None:
        self.send.allow(self.factor * (START_SECONDS + seconds))


def _time_factor() -> float:
    remedy = "give the seconds of work allowed for one second of media, such as 60"
    return positive_number("MERC_TIME_LIMIT", remedy) or DEFAULT_FACTOR


def _failure_of_death(name: str, stage: str, died: WorkerDied) -> Failure:
    if died.hung is not None:
        return Failure(
            name,
            stage,
            f"its process did not finish within {died.hung:.0f} s and was stopped",
            "convert the file (for instance with ffmpeg) and try again, or allow more time: "
            "MERC_TIME_LIMIT=600 (seconds of work for one second of media)",
        )
    if died.memory is not None:
        return Failure(
            name,
            stage,
            f"its process took {died.memory / 2**30:.1f} GiB of memory twice and was stopped",
            "close other programs, cut the file into parts, or allow more: MERC_MEMORY_LIMIT=16 "
            "(GiB for all workers together)",
        )
    if died.lost:
        return Failure(
            name,
            stage,
            "the machine that it ran on was lost, three times",
            "see whether memory ran out there, and run again",
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
