"""Read a file that still grows, or a pipe, as a stream of bytes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from pipeline.core.errors import MercError
from pipeline.media.containers import check_local

__all__ = ["IDLE", "STDIN", "Feed"]

STDIN = "-"
IDLE = 30.0  # s without growth after which a file counts as complete
_POLL = 0.2  # s between two looks at a file
_HEAD = 1 << 20  # bytes in which the index of MP4 and MOV is looked for


class Feed:
    """The bytes of a growing file, or of standard input if the source is "-".

    Use it as a context manager. A file ends when it has not grown for `idle` seconds, a pipe when
    it is closed.

    received: whether anything came. problem: why a file ended early; "" if it did not. read: takes
    a number of bytes; returns up to so many as soon as there are any, and none at the end.

    Raises MediaError if the source is no local file.
    """

    def __init__(self, source: str | Path, idle: float = IDLE) -> None:
        self.name = "stdin" if str(source) == STDIN else Path(source).name
        self.idle, self._source = idle, str(source)
        self.received, self.problem = False, ""
        self._file: Any = None
        self._position = 0  # in the file
        self._ended = False
        self._stopped: BaseException | None = None
        # libav calls it from C, where KeyboardInterrupt would be lost. A generator is always inside
        # its `try`, also when a signal comes just as it is called; a function is not.
        reader = self._reader()
        next(reader)
        self.read = reader.send
        if self._source != STDIN:
            check_local(source)

    def __enter__(self) -> Feed:
        if self._source != STDIN:
            self._file = open(self._source, "rb", buffering=0)
        elif sys.stdin is None or sys.stdin.isatty():
            raise MercError(
                "standard input is a terminal, not a recording", "pipe one: COMMAND | merc ..."
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def stream(self) -> Any:
        """What PyAV can open: the feed, or the file itself if its index is at its end.

        The latter is an MP4 or MOV file that is complete, as its index is written last.
        """
        if self._file is None:
            return self
        head = self._file.read(_HEAD)
        self._file.seek(0)
        self.received = bool(head)
        index, content = head.find(b"moov"), head.find(b"mdat")
        complete = head[4:8] == b"ftyp" and (index < 0 or 0 <= content < index)
        return self._file if complete else self

    def check(self) -> None:
        """Raise what stopped `read`, such as KeyboardInterrupt; libav takes that for the end."""
        if self._stopped is not None:
            raise self._stopped

    def _reader(self) -> Generator[bytes, int, None]:
        data = b""
        while True:
            try:
                size = yield data
                data = b"" if self._ended else self._more(size)
                self.received |= bool(data)
                self._ended |= not data  # libav asks more than once
            except GeneratorExit:
                return
            except BaseException as error:
                self._stopped, self._ended, data = error, True, b""

    def _more(self, size: int) -> bytes:
        if self._file is None:
            return os.read(sys.stdin.fileno(), size)
        waited = 0.0
        while True:
            if os.fstat(self._file.fileno()).st_size < self._position:
                self.problem = "the file became shorter while it was followed"
                return b""
            if data := self._file.read(size):
                self._position += len(data)
                return data
            if waited >= self.idle:
                break
            time.sleep(_POLL)
            waited += _POLL
        if not os.fstat(self._file.fileno()).st_nlink:
            self.problem = "the file was deleted or replaced while it was followed"
        return b""
