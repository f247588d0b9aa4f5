"""Find where the clocks of a recording's streams break, and where the timeline goes on.

Joined, wrapped or interrupted recordings restart their clock or let it jump.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pipeline.media.packet_times import BACK, PACK, PacketTimes

__all__ = ["APART", "GAP", "LATER", "TOGETHER", "Break", "find_breaks"]

# s that clocks must step back if the file states when packets are decoded, which never goes back,
# and if they stay back in all streams together: parts that overlap
OVERLAP = 0.1
LATER = 5  # packets after a step back that tell a lasting one from one damaged timestamp
GAP = 1.0  # s without a packet of any stream that are worth a warning
TOGETHER = 5.0  # s between the first packets of two streams after one break
SLIDES = 60.0  # s between packets; with slower streams than this, longer gaps are jumps anyway
APART = 3600.0  # s; no two streams of one recording start that far apart


@dataclass(frozen=True)
class Break:
    """Where the clock of a stream breaks.

    packet: the first packet after it. offset: seconds to add from there on.
    """

    packet: int
    offset: float


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
