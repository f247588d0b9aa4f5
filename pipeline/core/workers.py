"""Map a function over items, in this process or in several local ones.

Each worker process holds its own copy of `work`, so the models that `work` opens are loaded once
per process. A worker that dies (out of memory, a crash inside a decoder) or hangs costs the item it
was working on and no other. Workers end with their parent, however it ends.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pickle import UnpicklingError
from typing import Any

from pipeline.core.errors import UsageError
from pipeline.core.resources import memory_of
from pipeline.core.worker_process import (
    FOREVER,
    SECONDS_TO_STOP,
    Send,
    Work,
    Worker,
    start_worker,
)

__all__ = ["Send", "WorkerDied", "map_items"]

WATCH = 0.5  # s between two looks at the memory of the workers


@dataclass(frozen=True)
class WorkerDied:
    """Returned in place of a result: the process working on this item ended.

    exitcode: its exit code, or minus the number of the signal that killed it.
    hung: seconds after which it was stopped because its time was up; None if it was not.
    memory: bytes that it had taken when it was stopped for taking too many; None if it was not.
    """

    exitcode: int
    hung: float | None = None
    memory: int | None = None


def map_items(
    work: Work,
    items: Sequence[Any],
    jobs: int = 1,
    on_message: Callable[..., None] = lambda index, *message: None,
    tries: int = 1,
    isolate: bool = False,
    memory: float | None = None,
) -> Iterator[tuple[int, Any]]:
    """Yield (index, work(item, send)) in the order in which items finish.

    While it works, `work` may call `send(*message)`; `on_message(index, *message)` then runs in
    this process. With jobs > 1, work, items, messages and results must pickle (multiprocessing,
    spawn). An exception ends its worker, so let `work` return its errors, as
    `failures.run_each` does. Closing the iterator ends the workers.

    tries: how often an item is given to a process before it is reported as `WorkerDied`. Later
        tries come after all other items, one at a time: memory may have run out because of the
        other processes.

    isolate: use a worker process even if jobs is 1.
    memory: bytes that the workers may take together. One that takes more than its share is killed;
        on a later try it may take all.

    With jobs > 1, `send.allow(seconds)` limits the time that the item may still take; a worker that
    takes longer is killed, and its item is not tried again.

    Raises UsageError if jobs < 1.

    >>> list(map_items(lambda item, send: 2 * item, [1, 2]))
    [(0, 2), (1, 4)]
    """
    if jobs < 1:
        raise UsageError(f"--jobs {jobs}: must be at least 1", "choose a positive number")
    jobs = min(jobs, len(items))
    if jobs > 1 or (isolate and jobs):
        yield from _Pool(work, items, jobs, on_message, tries, memory).run()
        return
    for index, item in enumerate(items):
        yield index, work(item, _Local(on_message, index))


@dataclass(frozen=True)
class _Local:
    """`send` for work in this process, which no one can stop."""

    on_message: Callable[..., None]
    index: int

    def __call__(self, *message: Any) -> None:
        self.on_message(self.index, *message)

    def allow(self, seconds: float) -> None: ...


class _Pool:
    """Workers that share the items, and the items that are to be tried again alone."""

    def __init__(
        self,
        work: Work,
        items: Sequence[Any],
        jobs: int,
        on_message: Callable[..., None],
        tries: int,
        memory: float | None,
    ) -> None:
        self.work, self.items, self.jobs = work, items, jobs
        self.on_message, self.tries, self.memory = on_message, tries, memory
        self.waiting = deque((index, 1) for index in range(len(items)))
        self.again: deque[tuple[int, int]] = deque()
        self.busy: dict[Connection, Worker] = {}
        self.tried: dict[int, int] = {}

    def run(self) -> Iterator[tuple[int, Any]]:
        try:
            for _ in range(self.jobs):
                self._give_next(None)
            while self.busy:
                yield from self._step()
                while not self.busy and self.again:
                    self.waiting.append(self.again.popleft())
                    self._give_next(None)
        finally:
            self._stop()

    def _give_next(self, worker: Worker | None) -> None:
        """Give the next item to this worker or to a new one; without one, end the worker."""
        if not self.waiting:
            if worker:
                worker.end()
            return
        index, self.tried[index] = self.waiting.popleft()
        worker = worker or start_worker(self.work, self.jobs)
        worker.index, worker.deadline = index, FOREVER
        self.busy[worker.pipe] = worker
        with contextlib.suppress(BrokenPipeError):  # already dead: seen as end of file in _step
            worker.pipe.send(self.items[index])

    def _step(self) -> Iterator[tuple[int, Any]]:
        """Wait for what the workers send, or for the first deadline."""
        first = min(worker.deadline for worker in self.busy.values())
        timeout = None if first == FOREVER else max(0.0, first - time.monotonic())
        if self.memory is not None:
            timeout = WATCH if timeout is None else min(WATCH, timeout)
        for pipe in wait(list(self.busy), timeout):
            worker = self.busy[pipe]  # type: ignore[index]
            try:
                kind, *content = worker.pipe.recv()
            except (
                EOFError,
                OSError,
                UnpicklingError,
            ):  # the end of the pipe, or half a message of a killed worker
                yield from self._died(worker)
                continue
            if kind == "allow":
                worker.allow(*content)
            elif kind == "message":
                self.on_message(worker.index, *content)
            else:
                del self.busy[worker.pipe]
                yield worker.index, content[0]
                self._give_next(worker)
        for worker in list(self.busy.values()):
            if time.monotonic() >= worker.deadline and not worker.pipe.poll():
                worker.process.kill()
                yield from self._died(worker, hung=worker.allowed)
        if self.memory is not None:
            yield from self._check_memory(self.memory)

    def _check_memory(self, limit: float) -> Iterator[tuple[int, WorkerDied]]:
        """Stop workers that take more than their share."""
        for worker in list(self.busy.values()):
            taken = memory_of(worker.process.pid or 0)
            share = limit if self.tried[worker.index] > 1 else limit / self.jobs
            if taken > share and not worker.pipe.poll():
                worker.process.kill()
                yield from self._died(worker, memory=taken)

    def _died(
        self, worker: Worker, hung: float | None = None, memory: int | None = None
    ) -> Iterator[tuple[int, WorkerDied]]:
        del self.busy[worker.pipe]
        worker.pipe.close()
        worker.process.join(SECONDS_TO_STOP)  # it is ending; a kill would hide why
        exitcode = worker.kill()
        index = worker.index
        if hung is None and self.tried[index] < self.tries:
            self.again.append((index, self.tried[index] + 1))
        else:
            yield index, WorkerDied(exitcode, hung, memory)
        self._give_next(None)

    def _stop(self) -> None:
        for worker in self.busy.values():
            worker.process.terminate()
        deadline = time.monotonic() + SECONDS_TO_STOP
        for worker in self.busy.values():
            worker.process.join(max(0.0, deadline - time.monotonic()))
            worker.kill()
