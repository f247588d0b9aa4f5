"""One timeline for picture and sound, whatever the clocks of their packets do.

Joined, wrapped or interrupted recordings restart their clock or let it jump. This module reads the
timestamps of all packets, finds those breaks, and gives each packet the offset that continues the
timeline without one.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.media.containers import open_container, packets

__all__ = ["APART", "Break", "Clock", "PacketTimes", "find_breaks", "read_clock"]

BACK = 1.0  # s that a clock must step back to count as restarted; B-frames step back by less
# s that clocks must step back if the file states when packets are decoded, which never goes back,
# and if they stay back in all streams together: parts that overlap
OVERLAP = 0.1
LATER = 5  # packets after a step back that tell a lasting one from one damaged timestamp
GAP = 1.0  # s without a packet of any stream that are worth a warning
REORDERED = 8  # frames that one may be decoded before it is shown
PACK = 1.0  # s of sound that may come at once, and so too early or too late among other packets
TOGETHER = 5.0  # s between the first packets of two streams after one break
# s that all clocks must jump ahead together. In transport streams and FLV, whose clocks are those
# of broadcasts, shorter jumps are breaks than in files that state their times.
AHEAD = {"mpegts": 10.0, "mpeg": 10.0, "flv": 10.0}
AHEAD_IN_FILES = 3600.0
SLIDES = 60.0  # s between packets; with slower streams than this, longer gaps are jumps anyway
LONGEST_DELAY = 60.0  # s between decoding and showing a packet; more is a damaged timestamp
APART = 3600.0  # s; no two streams of one recording start that far apart


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


@dataclass(frozen=True)
class Break:
    """Where the clock of a stream breaks.

    packet: the first packet after it. offset: seconds to add from there on.
    """

    packet: int
    offset: float


@dataclass
class Clock:
    """The times of the packets of some streams, and the breaks of each.

    streams, breaks: index of the stream -> its packets, its breaks in order. gaps: (start, end) in
        seconds on the one timeline where no stream has a packet, although its clock did not break.

    >>> clock = Clock({}, {0: [Break(75, 3.0)]})
    >>> clock.offset(0, 74), clock.offset(0, 75)
    (0.0, 3.0)
    """

    streams: dict[int, PacketTimes]
    breaks: dict[int, list[Break]]

    @cached_property
    def gaps(self) -> list[tuple[float, float]]:
        placed = [self._placed(index) for index in self.streams]
        starts = np.concatenate([times for times, _ in placed] or [np.zeros(0)])
        ends = np.concatenate([ends for _, ends in placed] or [np.zeros(0)])
        order = np.argsort(starts, kind="stable")
        starts, ends = starts[order], np.maximum.accumulate(ends[order])
        first = np.flatnonzero(starts[1:] > ends[:-1] + GAP)
        return [(float(ends[k]), float(starts[k + 1])) for k in first]

    def offset(self, stream: int, packet: int) -> float:
        """Return the seconds to add to the times of the packet with this number."""
        result = 0.0
        for item in self.breaks.get(stream, ()):
            if item.packet > packet:
                break
            result = item.offset
        return result

    def shown(self, stream: int) -> list[float]:
        """Return when the packets of a stream are shown, on the one timeline, in seconds."""
        times: list[float] = self._placed(stream)[0].tolist()
        return times

    def _placed(self, stream: int) -> tuple[np.ndarray, np.ndarray]:
        """Return when the packets of a stream with known times start and end."""
        packets = self.streams[stream]
        times, durations = np.array(packets.shown), np.array(packets.duration)
        for item in self.breaks.get(stream, ()):
            times[item.packet :] += item.offset - self.offset(stream, item.packet - 1)
        known = ~np.isnan(times)
        durations[durations == 0] = packets.frame_duration
        return times[known], (times + durations)[known]

    def start(self) -> float:
        """Return when the first packet is shown, on the one timeline; NaN if unknown."""
        return min(
            (min(times) for key in self.streams if (times := self.shown(key))), default=math.nan
        )

    def corrected(self, packets: Iterator[Any]) -> Iterator[Any]:
        """Yield packets with their times moved to the one timeline."""
        counts: dict[int, int] = {}
        bases: dict[int, Fraction] = {}
        for packet in packets:
            index = packet.stream.index
            if packet.size:
                _repair(packet, bases.setdefault(index, packet.stream.time_base))
                number = counts.get(index, 0)
                counts[index] = number + 1
                offset = self.offset(index, number) if self.breaks.get(index) else 0.0
                if offset:
                    ticks = round(offset / packet.time_base)
                    if packet.pts is not None:
                        packet.pts += ticks
                    if packet.dts is not None:
                        packet.dts += ticks
            yield packet


def read_clock(path: Path, indices: list[int]) -> Clock:
    """Read the times of the packets of some streams, without decoding them, and find the breaks."""
    streams = {index: PacketTimes() for index in indices}
    with open_container(path) as container:
        chosen = [container.streams[index] for index in indices]
        bases = {stream.index: stream.time_base for stream in chosen}
        for order, packet in enumerate(packets(container, chosen, [])):
            if packet.size:
                base = bases[packet.stream.index]
                _repair(packet, base)
                streams[packet.stream.index].add(
                    order,
                    math.nan if packet.dts is None else _seconds(packet.dts, base),
                    math.nan if packet.pts is None else _seconds(packet.pts, base),
                    _seconds(packet.duration or 0, base),
                )
        names = container.format.name.split(",")
    ahead = min((AHEAD[name] for name in names if name in AHEAD), default=AHEAD_IN_FILES)
    return Clock(streams, find_breaks(streams, ahead))


def _seconds(ticks: int, base: Fraction) -> float:
    """Return float(ticks * base), in a tenth of the time."""
    return ticks * base.numerator / base.denominator


def _repair(packet: Any, base: Fraction) -> None:
    """Show a packet when it is decoded if its own time is far from that."""
    if packet.pts is not None and packet.dts is not None:
        if _seconds(abs(packet.pts - packet.dts), base) > LONGEST_DELAY:
            packet.pts = packet.dts


def find_breaks(streams: dict[int, PacketTimes], ahead: float) -> dict[int, list[Break]]:
    """Find where the clocks of streams break; streams that break together stay in step.

    ahead: seconds that a clock must jump ahead to count as broken.

    After a break, the timeline goes on where the longest of the streams ended before it.
    """
    slowest = max((times.frame_duration for times in streams.values()), default=0.0)
    ahead = max(ahead, 2 * min(slowest, SLIDES))  # slides leave gaps that are no jumps
    steps = []  # (order, index of the stream, packet, time at which its new part starts)
    for index, times in streams.items():
        others = [other for key, other in streams.items() if key != index]
        found = _steps(times, others, ahead)
        found += _restarts_in_gaps(times, others, {k for k, _ in found})
        steps += [(times.order[k], index, k, time) for k, time in found]
    steps += _overlaps(streams, {(index, k) for _, index, k, _ in steps})
    # a part is what lies between two breaks: index of the stream -> its first packet
    parts: list[dict[int, int]] = [dict.fromkeys(streams, 0)]
    starts: list[list[float]] = [[]]  # of each part, as its streams tell it
    current = dict.fromkeys(streams, 0)
    for _, index, k, time in sorted(steps):
        joined = next(
            (
                number
                for number in range(current[index] + 1, len(parts))
                if index not in parts[number]
                and any(abs(time - start) <= TOGETHER for start in starts[number])
            ),
            None,
        )
        if joined is None:
            parts.append({})
            starts.append([])
            joined = len(parts) - 1
        parts[joined][index] = k
        starts[joined].append(time)
        current[index] = joined
    return _offsets(streams, parts)


def _steps(times: PacketTimes, others: list[PacketTimes], ahead: float) -> list[tuple[int, float]]:
    """Find where the clock of one stream steps back or jumps ahead: (packet, time after it)."""
    steps: list[tuple[int, float]] = []
    latest, end, since = -math.inf, math.inf, 0
    for k, time in enumerate(times.decoded):
        if math.isnan(time):
            continue
        start = time if time < latest - times.back else math.nan
        if time > end + ahead:
            start = _end_of_jump(others, end, time, (since, times.settled(k)), ahead)
        if not math.isnan(start):
            steps.append((k, start))
            latest, end, since = time, time, times.order[k]
        latest = max(latest, time)
        end = max(-math.inf if math.isinf(end) else end, time + times.duration[k])
    return steps


def _restarts_in_gaps(
    times: PacketTimes, others: list[PacketTimes], known: set[int]
) -> list[tuple[int, float]]:
    """Find gaps of one stream in which another restarts: (packet after it, time of the restart).

    The stream itself steps ahead if its gap ends later in the new part than it began in the old.

    known: packets of breaks that are found already.
    """
    steps: list[tuple[int, float]] = []
    before = -1  # the last packet with a known time
    for k, time in enumerate(times.decoded):
        if math.isnan(time):
            continue
        last = times.decoded[before] if before >= 0 else -math.inf
        if time > last + GAP and k not in known:
            while before >= 0 and last - PACK < times.decoded[before] <= last:
                before -= 1
            if before < 0 or times.decoded[before] < last:  # otherwise it has just restarted itself
                orders = times.order[before] if before >= 0 else -1, times.settled(k)
                restarts = [other.since_restart(orders[1]) for other in others]
                steps += [
                    (k, other.decoded[first])
                    for other, (first, now) in zip(others, restarts, strict=True)
                    if first and other.order[first] > orders[0] and abs(now - time) < TOGETHER
                ][:1]
        before = k
    return steps


def _end_of_jump(
    others: list[PacketTimes],
    start: float,
    end: float,
    orders: tuple[int, int],
    ahead: float,
) -> float:
    """Return where a jump within a gap of one stream ends; NaN if the clock goes on in the others.

    orders: positions of the stream's last break, and of where it has settled after the gap. What
        comes between its packets before and after the gap says little: libav holds back the last
        packet of a stream until the next one comes, and a program stream may have both in one pack.
    """
    between = [other.between(start, end, orders) for other in others]
    marks = np.sort(np.concatenate([np.array([start, end]), *between]))
    jumps = np.flatnonzero(np.diff(marks) > ahead)
    return float(marks[jumps[-1] + 1]) if len(jumps) else math.nan


def _overlaps(
    streams: dict[int, PacketTimes], known: set[tuple[int, int]]
) -> list[tuple[int, int, int, float]]:
    """Find where all streams step back a little together, as `find_breaks` lists steps.

    known: (index of the stream, packet) of larger steps, which are breaks anyway.
    """
    found: dict[int, list[tuple[int, float]]] = {}  # index -> (packet, time after the step)
    for index, times in streams.items():
        if not times.stated or len(times.order) < 2:
            return []
        back = max(OVERLAP, 2 * times.frame_duration)
        found[index] = [
            (k, times.decoded[k])
            for k in range(1, len(times.decoded))
            if BACK >= times.decoded[k - 1] - times.decoded[k] > back
            and (index, k) not in known
            and _stays_back(times, k)
        ]
    if not found:
        return []
    together = []
    for index, steps in found.items():
        for k, time in steps:
            near = [
                any(abs(other - time) < BACK for _, other in others)
                for key, others in found.items()
                if key != index
            ]
            if all(near):
                together.append((streams[index].order[k], index, k, time))
    return together


def _stays_back(times: PacketTimes, k: int) -> bool:
    """Whether the clock goes on from packet k, as it does not after one damaged timestamp."""
    step = times.decoded[k - 1] - times.decoded[k]
    after = times.decoded[k : k + LATER]
    return all(0 <= b - a < step for a, b in pairwise(after))


def _strays(sizes: dict[int, int], spans: dict[int, tuple[float, float]]) -> dict[int, float]:
    """Find streams that start hours from the one with most packets: damaged clocks.

    Returns index of the stream -> seconds to add, so that it starts with the largest one.
    """
    if not spans:
        return {}
    start = spans[max(spans, key=lambda index: sizes[index])][0]
    return {index: start - span[0] for index, span in spans.items() if abs(span[0] - start) > APART}


def _offsets(
    streams: dict[int, PacketTimes], parts: list[dict[int, int]]
) -> dict[int, list[Break]]:
    """Place the parts one after the other."""
    breaks: dict[int, list[Break]] = {index: [] for index in streams}
    ends: dict[int, float] = {}
    for number, part in enumerate(parts):
        spans, sizes = {}, {}
        for index, first in part.items():
            later = [other[index] for other in parts[number + 1 :] if index in other]
            last = min(later, default=len(streams[index].order))
            span = streams[index].span(first, last)
            if span:
                spans[index], sizes[index] = span, last - first
        offset = 0.0
        if number == 0:
            for index, shift in _strays(sizes, spans).items():
                breaks[index].append(Break(0, shift))
                spans[index] = (spans[index][0] + shift, spans[index][1] + shift)
        elif spans:
            moves = [ends[index] - span[0] for index, span in spans.items() if index in ends]
            earliest = min(span[0] for span in spans.values())
            offset = max(moves) if moves else max(ends.values(), default=earliest) - earliest
            for index, first in part.items():
                breaks[index].append(Break(first, offset))
        for index, span in spans.items():
            ends[index] = max(ends.get(index, -math.inf), span[1] + offset)
    return breaks
