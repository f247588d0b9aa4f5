"""Map a function over items, in this process or in several local ones.

Each worker process holds its own copy of `work`, so the models that `work` opens are loaded once
per process. A worker that dies (out of memory, a crash inside a decoder) costs the item it was
working on and no other.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from pipeline.core.errors import UsageError

__all__ = ["WorkerDied", "map_items"]

Send = Callable[..., None]
Work = Callable[[Any, Send], Any]
SECONDS_TO_STOP = 20  # for a worker to remove its temporary files


@dataclass(frozen=True)
class WorkerDied:
    """Returned in place of a result: the process working on this item ended.

    exitcode: its exit code, or minus the number of the signal that killed it.
    """

    exitcode: int


def map_items(
    work: Work,
    items: Sequence[Any],
    jobs: int = 1,
    on_message: Callable[..., None] = lambda index, *message: None,
) -> Iterator[tuple[int, Any]]:
    """Yield (index, work(item, send)) in the order in which items finish.

    While it works, `work` may call `send(*message)`; `on_message(index, *message)` then runs in
    this process. With jobs > 1, work, items, messages and results must pickle (multiprocessing,
    spawn). An exception ends its worker, so let `work` return its errors, as
    `failures.run_each` does. Closing the iterator ends the workers.

    Raises UsageError if jobs < 1.

    >>> list(map_items(lambda item, send: 2 * item, [1, 2]))
    [(0, 2), (1, 4)]
    """
    if jobs < 1:
        raise UsageError(f"--jobs {jobs}: must be at least 1", "choose a positive number")
    jobs = min(jobs, len(items))
    if jobs > 1:
        yield from _in_processes(work, items, jobs, on_message)
        return
    for index, item in enumerate(items):

        def send(*message: Any, index: int = index) -> None:
            on_message(index, *message)

        yield index, work(item, send)


@dataclass
class _Worker:
    process: multiprocessing.process.BaseProcess
    pipe: Connection
    index: int = -1


def _in_processes(
    work: Work, items: Sequence[Any], jobs: int, on_message: Callable[..., None]
) -> Iterator[tuple[int, Any]]:
    waiting = iter(range(len(items)))
    busy: dict[Connection, _Worker] = {}

    def give_next(worker: _Worker | None) -> None:
        """Give the next item to this worker or to a new one; without one, end the worker."""
        index = next(waiting, None)
        if index is None:
            if worker:
                worker.pipe.close()
                worker.process.join()
            return
        worker = worker or _start(work, jobs)
        worker.index = index
        busy[worker.pipe] = worker
        with contextlib.suppress(BrokenPipeError):  # already dead: seen as end of file below
            worker.pipe.send(items[index])

    try:
        for _ in range(jobs):
            give_next(None)
        while busy:
            for pipe in wait(list(busy)):
                worker = busy[pipe]  # type: ignore[index]
                try:
                    kind, *content = worker.pipe.recv()
                except (EOFError, OSError):
                    del busy[worker.pipe]
                    worker.process.join()
                    yield worker.index, WorkerDied(worker.process.exitcode or 0)
                    give_next(None)
                    continue
                if kind == "message":
                    on_message(worker.index, *content)
                else:
                    del busy[worker.pipe]
                    yield worker.index, content[0]
                    give_next(worker)
    finally:
        for worker in busy.values():
            worker.process.terminate()
        for worker in busy.values():
            worker.process.join(SECONDS_TO_STOP)
            worker.process.kill()
            worker.process.join()


def _start(work: Work, jobs: int) -> _Worker:
    context = multiprocessing.get_context("spawn")  # a fork of torch's or OpenMP's threads hangs
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(work, theirs), daemon=True)
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    before = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    os.environ.update({name: threads for name, value in before.items() if value is None})
    try:
        with _interrupts_blocked():
            process.start()
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
    theirs.close()
    return _Worker(process, ours)


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Block SIGINT while a worker starts.

    Ctrl-C reaches every process of the terminal. A worker inherits this mask and leaves Ctrl-C to
    its parent.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(work: Work, pipe: Connection) -> None:
    """Run a worker: items in, messages and results out, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _exit_on_signal)  # by exception: temporary files are removed
    threading.Thread(target=_exit_with_parent, daemon=True).start()

    def send(*message: Any) -> None:
        pipe.send(("message", *message))

    with contextlib.suppress(EOFError, BrokenPipeError):  # the parent is gone
        while True:
            item = pipe.recv()
            pipe.send(("result", work(item, send)))


def _exit_with_parent() -> None:
    """End this worker when its parent is killed, even in the middle of an item."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _exit_on_signal(number: int, frame: object) -> None:
    raise SystemExit(128 + number)
