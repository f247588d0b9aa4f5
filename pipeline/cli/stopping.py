"""Stop on Ctrl-C and SIGTERM: say what was finished, end within two seconds."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import Any, NoReturn

from pipeline.cli.terminal import flush, print_line
from pipeline.core.counts import counted
from pipeline.core.scratch import remove_scratch

__all__ = [
    "Stopping",
    "check_interrupted",
    "describe_finished",
    "finished_text",
    "stopping",
]

PATIENCE = 1.7  # s for cleaning up; native code that takes longer is cut off
_SHOWN = 20  # names


class Stopping:
    """What the signal was, and how to say what was finished until then."""

    def __init__(self) -> None:
        self.signal = 0
        self.describe: Callable[[], str] = lambda: "what was finished is written"
        self._printed = threading.Lock()

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: raise KeyboardInterrupt, once, so that everything is cleaned up.

        During an import there is nothing to clean up, and libraries in C++ abort on exceptions.
        """
        first = not self.signal
        self.signal = self.signal or number
        if first and _imports(frame):
            self.end()
        if first:
            raise KeyboardInterrupt

    def end(self) -> NoReturn:
        """Say what was finished and end the process; Python's own end takes torch seconds."""
        self.announce()
        remove_scratch()
        with contextlib.suppress(OSError, ValueError):
            flush()
        os._exit(self.exit_code)

    @property
    def exit_code(self) -> int:
        return 128 + self.signal

    def announce(self) -> None:
        """Print once what was finished."""
        if self._printed.acquire(blocking=False):
            verb = "terminated" if self.signal == signal.SIGTERM else "interrupted"
            print_line(f"merc: {verb}; {self.describe()}", error=True)

    def watch(self, pipe: int) -> None:
        """Wait for the number of a signal; end the process if it does not end by itself.

        Runs in a thread: Python calls no handler while the main thread is in native code.
        """
        numbers = b""
        while not numbers or numbers[0] not in (signal.SIGINT, signal.SIGTERM):
            numbers = os.read(pipe, 1)
            if not numbers:  # closed: the command has ended
                os.close(pipe)
                return
        time.sleep(PATIENCE)
        self.signal = self.signal or numbers[0]
        self.end()


def _imports(frame: FrameType | None) -> bool:
    """Whether a module is being imported where the signal arrived."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


_current: ContextVar[Stopping | None] = ContextVar("stopping", default=None)


def check_interrupted() -> None:
    """Raise KeyboardInterrupt if a signal came and a library swallowed the one it raised."""
    current = _current.get()
    if current is not None and current.signal:
        raise KeyboardInterrupt


@contextmanager
def describe_finished(describe: Callable[[], str]) -> Iterator[None]:
    """Have `describe` say what was finished if the block is interrupted."""
    current = _current.get()
    if current is None:
        yield
        return
    before, current.describe = current.describe, describe
    yield
    current.describe = before  # not if interrupted: it is still to be said


@contextmanager
def stopping() -> Iterator[Stopping]:
    """Handle SIGINT and SIGTERM in the block, unless the process was started to ignore them."""
    stop = Stopping()
    token = _current.set(stop)
    numbers = [
        number
        for number, default in (
            (signal.SIGINT, signal.default_int_handler),
            (signal.SIGTERM, signal.SIG_DFL),
        )
        if signal.getsignal(number) is default
    ]
    before: dict[Any, Any] = {number: signal.signal(number, stop.interrupt) for number in numbers}
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    wakeup = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=stop.watch, args=(reading,), daemon=True).start()
    try:
        yield stop
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(writing)
        _current.reset(token)


def finished_text(names: list[str], total: int) -> str:
    """Say which of `total` files are finished.

    >>> finished_text(["a.mp4"], 3)
    '1 of 3 files finished: a.mp4'
    """
    if not total:
        return "no file was finished"
    shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    return f"{len(names)} of {counted(total, 'file')} finished" + (f": {shown}" if names else "")
