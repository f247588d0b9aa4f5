"""Worker processes on this machine, with limits of their time and memory."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from pickle import UnpicklingError
from typing import Any

from pipeline.core.engine import Event, Work, WorkerDied
from pipeline.core.resources import memory_of, usable_cores
from pipeline.core.worker_process import FOREVER, SECONDS_TO_STOP, Worker, start_worker

__all__ = ["LocalEngine"]

WATCH = 0.5  # s between two looks at the memory of the workers


class LocalEngine:
    """The `Engine` of this machine.

    work: or its pickle. memory: bytes that the workers may take together; None: no limit. One that
    takes more than its share is killed; if it works alone, it may take all. threads: of each
    worker; default: the cores are shared among `jobs` workers.
    """

    def __init__(
        self,
        work: Work | bytes,
        jobs: int,
        memory: float | None = None,
        threads: int | None = None,
    ) -> None:
        self.work, self.jobs, self.memory = work, jobs, memory
        self.threads = threads or max(1, usable_cores() // jobs)
        self.new: list[Worker] = []
        self.busy: dict[Connection, Worker] = {}

    def start(self) -> Worker:
        worker = start_worker(self.work, self.threads)
        self.new.append(worker)
        return worker

    def give(self, worker: Worker, item: Any, alone: bool) -> None:
        worker.alone, worker.deadline = alone, FOREVER
        self.busy[worker.pipe] = worker
        with contextlib.suppress(BrokenPipeError):  # already dead: seen as end of file in wait
            worker.pipe.send(item)

    def end(self, worker: Worker) -> None:
        worker.end()

    def wait(self) -> Iterator[tuple[Worker, Event, Any]]:
        """Wait for what the workers send, or for the first deadline."""
        if self.new:
            new, self.new = self.new, []
            for worker in new:
                yield worker, Event.READY, None
            return
        for pipe in wait(list(self.busy), self._timeout()):
            yield from self._receive(self.busy[pipe])  # type: ignore[index]
        for worker in list(self.busy.values()):
            if time.monotonic() >= worker.deadline and not worker.pipe.poll():
                yield self._kill(worker, hung=worker.allowed)
        if self.memory is not None:
            yield from self._check_memory(self.memory)

    def stop(self) -> None:
        workers = [*self.new, *self.busy.values()]
        for worker in workers:
            worker.process.terminate()
        deadline = time.monotonic() + SECONDS_TO_STOP
        for worker in workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            worker.kill()

    def _timeout(self) -> float | None:
        first = min(worker.deadline for worker in self.busy.values())
        timeout = None if first == FOREVER else max(0.0, first - time.monotonic())
        if self.memory is not None:
            timeout = WATCH if timeout is None else min(WATCH, timeout)
        return timeout

    def _receive(self, worker: Worker) -> Iterator[tuple[Worker, Event, Any]]:
        try:
            kind, *content = worker.pipe.recv()
        except (
            EOFError,
            OSError,
            UnpicklingError,
        ):  # the end of the pipe, or half a message of a killed worker
            yield self._died(worker)
            return
        if kind == "allow":
            worker.allow(*content)
        elif kind == "message":
            yield worker, Event.MESSAGE, content
        else:
            del self.busy[worker.pipe]
            yield worker, Event.RESULT, content[0]

    def _check_memory(self, limit: float) -> Iterator[tuple[Worker, Event, Any]]:
        """Stop workers that take more than their share."""
        for worker in list(self.busy.values()):
            taken = memory_of(worker.process.pid or 0)
            share = limit if worker.alone else limit / self.jobs
            if taken > share and not worker.pipe.poll():
                yield self._kill(worker, memory=taken)

    def _kill(self, worker: Worker, **why: Any) -> tuple[Worker, Event, WorkerDied]:
        worker.process.kill()
        return self._died(worker, **why)

    def _died(self, worker: Worker, **why: Any) -> tuple[Worker, Event, WorkerDied]:
        del self.busy[worker.pipe]
        worker.pipe.close()
        worker.process.join(SECONDS_TO_STOP)  # it is ending; a kill would hide why
        return worker, Event.DIED, WorkerDied(worker.kill(), **why)
