"""Read a file that still grows, or a pipe, as a stream of bytes."""

from __future__ import annotations

import os
import sys
import time
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

    Raises MediaError if the source is no local file.
    """

    def __init__(self, source: str | Path, idle: float = IDLE) -> None:
        self.name = "stdin" if str(source) == STDIN else Path(source).name
        self.idle, self._source = idle, str(source)
        self._file: Any = None
        self._ended = False
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
        index, content = head.find(b"moov"), head.find(b"mdat")
        complete = head[4:8] == b"ftyp" and (index < 0 or 0 <= content < index)
        return self._file if complete else self

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes as soon as there are any; none at the end."""
        if self._file is None:
            return os.read(sys.stdin.fileno(), size)
        waited = 0.0
        while not (data := self._file.read(size)) and not self._ended:
            if waited >= self.idle:
                self._ended = True  # libav asks more than once
                break
            time.sleep(_POLL)
            waited += _POLL
        return data
