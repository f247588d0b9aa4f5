"""The times of the packets of one stream, as its own clock tells them."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np

__all__ = ["BACK", "PACK", "REORDERED", "PacketTimes"]

BACK = 1.0  # s that a clock must step back to count as restarted; B-frames step back by less
REORDERED = 8  # frames that one may be decoded before it is shown
PACK = 1.0  # s of sound that may come at once, and so too early or too late among other packets


@dataclass
class PacketTimes:
    """The packets of one stream, in seconds of its own clock; NaN if unknown.

    order: position of each packet among those of all streams. decoded, shown: when the packet is
    decoded, and when its content is shown. duration: 0 if unknown. stated: whether the file says
    when all of them are decoded.
    """

    order: array[int] = field(default_factory=lambda: array("q"))
    decoded: array[float] = field(default_factory=lambda: array("d"))
    shown: array[float] = field(default_factory=lambda: array("d"))
    duration: array[float] = field(default_factory=lambda: array("d"))
    stated: bool = True

    def add(self, order: int, decoded: float, shown: float, duration: float) -> None:
        """Append one packet."""
        self.stated &= not math.isnan(decoded)
        self.order.append(order)
        self.decoded.append(shown if math.isnan(decoded) else decoded)
        self.shown.append(shown)
        self.duration.append(duration)

    def span(self, first: int, last: int) -> tuple[float, float] | None:
        """Return when the content of packets [first, last) starts and ends; None if unknown."""
        known = [k for k in range(first, last) if not math.isnan(self.shown[k])]
        if not known:
            return None
        return (
            min(self.shown[k] for k in known),
            max(self.shown[k] + (self.duration[k] or self.frame_duration) for k in known),
        )

    @cached_property
    def frame_duration(self) -> float:
        """Median time between packets; 0 if there are fewer than two."""
        times = sorted(time for time in self.shown if not math.isnan(time))
        steps = sorted(b - a for a, b in pairwise(times))
        return steps[len(steps) // 2] if steps else 0.0

    @cached_property
    def back(self) -> float:
        """How far the clock must step back to count as restarted, in seconds."""
        return max(BACK, REORDERED * self.frame_duration)

    @cached_property
    def _rises(self) -> tuple[np.ndarray, np.ndarray]:
        """The latest time up to each packet since the clock stepped back, and where that was."""
        latest, first = np.full(len(self.decoded), -math.inf), np.zeros(len(self.decoded), int)
        peak, start = -math.inf, 0
        for k, time in enumerate(self.decoded):
            if time < peak - self.back:
                peak, start = time, k
            elif time > peak:  # False for NaN
                peak = time
            latest[k], first[k] = peak, start
        return latest, first

    def settled(self, k: int) -> int:
        """Return the position of the first packet a little later than packet k, or of a step back.

        A damaged timestamp is followed by a step back.
        """
        time, last = self.decoded[k], k
        for last in range(k, len(self.decoded)):
            if not time - self.back <= self.decoded[last] < time + PACK:
                break
        return self.order[last]

    def since_restart(self, order: int) -> tuple[int, float]:
        """Return the packet at which the clock last stepped back before a position, and its time.

        The time is that of the last packet before the position; NaN if there is none.
        """
        last = bisect_left(self.order, order) - 1
        latest, restart = self._rises
        return (int(restart[last]), float(latest[last])) if last >= 0 else (0, math.nan)

    def between(self, start: float, end: float, orders: tuple[int, int]) -> np.ndarray:
        """Return the times after `start` and before `end` of packets between two positions.

        They ascend: packets before the last step back are left out.
        """
        first, last = (bisect_left(self.order, order) for order in orders)
        if first == last:
            return np.zeros(0)
        latest, restart = self._rises
        times = latest[max(first, restart[last - 1]) : last]
        return times[np.searchsorted(times, start, "right") : np.searchsorted(times, end)]
