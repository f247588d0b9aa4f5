"""One worker process: start it, give it items, end it, and let it end with its parent."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import util
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any, NoReturn

from pipeline.core.engine import Work
from pipeline.core.resources import limit_memory_pools

__all__ = ["FOREVER", "SECONDS_TO_STOP", "Worker", "start_worker"]

FOREVER = float("inf")
SECONDS_TO_STOP = 3.0  # for workers to remove their temporary files; then they are killed
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
THREADS = (  # how many threads a library starts, read when it is loaded
    "OMP_NUM_THREADS",  # merc's own, torch and its MKL, the face detector
    "RAYON_NUM_THREADS",  # tokenizers
)
# threads that would wait busily for small parts of work
IDLE = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "OPENBLAS_NUM_THREADS": "1",  # numpy
    "OPENCV_FOR_THREADS_NUM": "1",
}


@dataclass(eq=False)
class Worker:
    """A worker process and this end of its pipe. alone: no other worker has an item."""

    process: multiprocessing.process.BaseProcess
    pipe: Connection
    alone: bool = False
    allowed: float = FOREVER  # s for the item, counted from the latest call of send.allow
    deadline: float = FOREVER  # of time.monotonic()

    def allow(self, seconds: float) -> None:
        self.allowed, self.deadline = seconds, time.monotonic() + seconds

    def end(self) -> None:
        """End a worker that has nothing to do."""
        self.pipe.close()
        self.process.join(SECONDS_TO_STOP)
        self.kill()

    def kill(self) -> int:
        """Kill the process if it still runs; return its exit code."""
        if self.process.exitcode is None:
            self.process.kill()
        self.process.join()
        return self.process.exitcode or 0


def start_worker(work: Work | bytes, threads: int) -> Worker:
    """Start a worker. work: or its pickle.

    Each library gets so many threads, unless the environment says otherwise. Threads of several
    workers on one core would wait for each other. Threads that have nothing to do must not keep a
    core busy that other stages need: those of OpenMP sleep, and numpy and OpenCV, whose work comes
    in small parts, have one thread only.
    """
    context = multiprocessing.get_context("spawn")  # a fork of torch's or OpenMP's threads hangs
    ours, theirs = context.Pipe()
    # bytes, so that the worker watches its parent before it imports what `work` needs
    pickled = work if isinstance(work, bytes) else bytes(ForkingPickler.dumps(work))
    process = context.Process(target=_serve, args=(pickled, theirs), daemon=True)
    settings = dict.fromkeys(THREADS, str(threads)) | IDLE
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update({name: settings[name] for name, value in before.items() if value is None})
    try:
        with _interrupts_blocked():
            process.start()
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
    theirs.close()
    return Worker(process, ours)


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


def _serve(pickled: bytes, pipe: Connection) -> None:
    """Run a worker: items in, messages and results out, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _exit_on_signal)  # by exception: temporary files are removed
    _end_with_parent()
    limit_memory_pools()
    _take_no_semaphore()
    try:
        _work_on_items(pickled, pipe)
        _end(0)
    except SystemExit as stop:  # temporary files are removed
        _end(stop.code if isinstance(stop.code, int) else 1)


def _work_on_items(pickled: bytes, pipe: Connection) -> None:
    work: Work = pickle.loads(pickled)  # noqa: S301 (from the parent)
    send = _Remote(pipe)
    with contextlib.suppress(EOFError, BrokenPipeError):  # the parent is gone
        while True:
            item = pipe.recv()
            pipe.send(("result", work(item, send)))


def _take_no_semaphore() -> None:
    """Give tqdm, which libraries use, a lock of this process.

    Its own lock takes a named semaphore, which stays behind when the process is killed, and Python
    then warns of it on the terminal.
    """
    with contextlib.suppress(ImportError):
        from tqdm import tqdm

        tqdm.set_lock(threading.RLock())


def _end(code: int) -> NoReturn:
    """End this process: Python's own end takes torch seconds."""
    util._run_finalizers(0)  # type: ignore[attr-defined]  # of named semaphores
    os._exit(code)


def _exit_on_signal(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def _end_with_parent() -> None:
    """End this process as soon as the parent that multiprocessing gave it has ended.

    On Linux the kernel kills it. Elsewhere a thread waits for the parent; it runs only when no
    native code holds the interpreter lock, so the end may come later.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # a C library without prctl
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """Also sees a parent that ended before the kernel was asked."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@dataclass(frozen=True)
class _Remote:
    """`send` for work in a worker."""

    pipe: Connection

    def __call__(self, *message: Any) -> None:
        self.pipe.send(("message", *message))

    def allow(self, seconds: float) -> None:
        self.pipe.send(("allow", seconds))
