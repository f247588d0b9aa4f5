"""Map over items: one after the other in this process, or in several local processes.

A worker holds its own copy of `work`, so models that `work` opens are opened once per process.  A worker that dies
(killed for memory, a crash inside a decoder) costs the item it held and no other.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

__all__ = ["Died", "engine_map"]

Tell = Callable[..., None]  # tell(stage: str, done: float | None = None), done in 0..1
Work = Callable[[Any, Tell], Any]
OnStage = Callable[[int, str, float | None], None]


@dataclass(frozen=True)
class Died:
    """In place of a result: the process that worked on this item ended (exit code, or minus the signal)."""

    exitcode: int


def engine_map(work: Work, items: Sequence[Any], jobs: int = 1,
               on_stage: OnStage = lambda index, stage, done: None) -> Iterator[tuple[int, Any]]:
    """Yield (index, work(item, tell)) as they are finished.

    With jobs > 1, work, items and results are pickled (multiprocessing, spawn); an exception ends the worker, so
    let work return its errors (`failures.run_each` does).  Closing the iterator ends the workers.
    """
    if jobs < 1:
        raise ValueError(f"--jobs {jobs}: want 1 or more")
    jobs = min(jobs, len(items))
    if jobs <= 1:
        for index, item in enumerate(items):
            yield index, work(item, lambda stage, done=None, index=index: on_stage(index, stage, done))
    else:
        yield from _in_processes(work, items, jobs, on_stage)


def _in_processes(work: Work, items: Sequence[Any], jobs: int, on_stage: OnStage) -> Iterator[tuple[int, Any]]:
    waiting = iter(range(len(items)))
    busy: dict[Connection, _Worker] = {}

    def give(worker: _Worker | None) -> None:
        """The next item to this worker, or to a new one; with none left, the worker ends."""
        index = next(waiting, None)
        if index is None:
            if worker:
                worker.pipe.close()
                worker.process.join()
            return
        worker = worker or _start(work, jobs)
        worker.index = index
        busy[worker.pipe] = worker
        with contextlib.suppress(BrokenPipeError):  # it has died already: read as end of file below
            worker.pipe.send(items[index])

    try:
        for _ in range(jobs):
            give(None)
        while busy:
            for pipe in wait(list(busy)):
                worker = busy[pipe]  # type: ignore[index]
                try:
                    kind, *content = worker.pipe.recv()
                except (EOFError, OSError):
                    del busy[worker.pipe]
                    worker.process.join()
                    yield worker.index, Died(worker.process.exitcode or 0)
                    give(None)
                    continue
                if kind == "stage":
                    on_stage(worker.index, *content)
                else:
                    del busy[worker.pipe]
                    yield worker.index, content[0]
                    give(worker)
    finally:
        for worker in busy.values():
            worker.process.terminate()
        for worker in busy.values():
            worker.process.join(20)  # seconds to remove its temporary files
            worker.process.kill()
            worker.process.join()


@dataclass
class _Worker:
    process: multiprocessing.process.BaseProcess
    pipe: Connection
    index: int = -1


def _start(work: Work, jobs: int) -> _Worker:
    context = multiprocessing.get_context("spawn")  # a forked copy of torch's or OpenMP's threads hangs
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(work, theirs), daemon=True)
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    before = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    os.environ.update({name: threads for name, value in before.items() if value is None})
    try:
        with _interrupts_held():
            process.start()
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
    theirs.close()
    return _Worker(process, ours)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C reaches every process of the terminal; a worker inherits this mask and leaves it to its parent."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(work: Work, pipe: Connection) -> None:
    """The life of a worker: items in, stages and results out, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)  # ended by exception, so that temporary files are removed
    with contextlib.suppress(EOFError, BrokenPipeError):  # the parent is gone
        while True:
            item = pipe.recv()
            pipe.send(("result", work(item, lambda stage, done=None: pipe.send(("stage", stage, done)))))


def _leave(number: int, frame: object) -> None:
    raise SystemExit(128 + number)
