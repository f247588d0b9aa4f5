"""One timeline for a feed whose clock restarts or jumps, without knowing what follows.

The rules are those of `breaks`, which reads the whole recording first. Here the first stream that
breaks says where the timeline goes on, and steps back of less than a second are no breaks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.media.breaks import APART, TOGETHER
from pipeline.media.packet_times import BACK, REORDERED

__all__ = ["RunningClock"]


@dataclass
class _Stream:
    """What is known of one stream. Times are seconds of its own clock, except `shown`.

    latest: of a packet since the last break. end: of its content. shown: when its content ends on
    the one timeline. step: between two packets. elsewhere: the earliest time after its end that
    another stream has had since. part: number of the part that it is in.
    """

    offset: float
    part: int
    latest: float = -math.inf
    end: float = -math.inf
    shown: float = -math.inf
    step: float = 0.0
    elsewhere: float = math.inf


@dataclass
class _Part:
    """What lies between two breaks. starts: index of a stream -> its first time, in seconds."""

    starts: dict[int, float]
    offset: float


class RunningClock:
    """Give each packet of a feed the offset that continues the timeline.

    ahead: seconds that a clock must jump ahead to count as broken. breaks: how many there were.

    >>> clock = RunningClock(ahead=10)
    >>> [clock.offset(0, time, time, 1.0) for time in (50.0, 51.0, 0.0, 1.0, 500.0)]
    [0.0, 0.0, 52.0, 52.0, -446.0]
    """

    def __init__(self, ahead: float) -> None:
        self._ahead = ahead
        self._streams: dict[int, _Stream] = {}
        self._parts: dict[int, _Part] = {}
        self._number = 0  # of the latest part

    @property
    def breaks(self) -> int:
        return self._number

    def offset(self, index: int, decoded: float, shown: float, duration: float) -> float:
        """Return the seconds to add to the times of the next packet of a stream."""
        stream = self._streams.get(index)
        if stream is None:
            stream = self._begin(index, decoded)
        elif self._is_broken(index, stream, decoded, duration):
            self._go_on(index, stream, decoded, shown)
        elif 0 < decoded - stream.latest < 1:
            stream.step = decoded - stream.latest
        length = duration or stream.step
        stream.latest = max(stream.latest, decoded)
        stream.end = max(stream.end, decoded + length)
        stream.shown = max(stream.shown, shown + length + stream.offset)
        stream.elsewhere = math.inf
        for key, other in self._streams.items():
            if key != index and decoded > other.end + 1:
                other.elsewhere = min(other.elsewhere, decoded)
        return stream.offset

    def _begin(self, index: int, time: float) -> _Stream:
        """Start a stream; if it is hours from the others, its clock is damaged: it starts there."""
        first = self._parts.setdefault(0, _Part({}, 0.0))
        others = [stream.latest + stream.offset for stream in self._streams.values()]
        stray = bool(others) and abs(time - max(others)) > APART
        stream = _Stream(max(others) - time if stray else 0.0, self._number)
        if not stray and not self._number:
            first.starts[index] = time
        elif not stray:
            stream.offset = self._parts[self._number].offset
        self._streams[index] = stream
        return stream

    def _is_broken(self, index: int, stream: _Stream, time: float, duration: float) -> bool:
        if time < stream.latest - max(BACK, REORDERED * (duration or stream.step)):
            return True
        if time <= stream.end + self._ahead or stream.elsewhere < time - 1:
            return False
        # the stream paused if others are there already; transport streams hold back its last packet
        return not any(
            abs(time + stream.offset - other.shown) < TOGETHER
            for key, other in self._streams.items()
            if key != index
        )

    def _go_on(self, index: int, stream: _Stream, time: float, shown: float) -> None:
        """Join the part that another stream has begun, or begin one."""
        for number, part in self._parts.items():
            near = any(abs(time - start) <= TOGETHER for start in part.starts.values())
            if number > stream.part and index not in part.starts and near:
                break
        else:
            self._number += 1
            number, part = self._number, _Part({}, stream.shown - shown)
            self._parts[number] = part
        part.starts[index] = time
        stream.part, stream.offset = number, part.offset
        stream.latest = stream.end = time
        oldest = min(other.part for other in self._streams.values())
        # a stream without packets must not keep all parts
        oldest = max(oldest, self._number - 20)
        self._parts = {key: value for key, value in self._parts.items() if key >= oldest}
