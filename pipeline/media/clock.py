"""One timeline for picture and sound, whatever the clocks of their packets do.

This module reads the timestamps of all packets, finds the breaks of the clocks (`breaks`), and
gives each packet the offset that continues the timeline without one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.media.breaks import GAP, Break, find_breaks
from pipeline.media.containers import open_container, packets
from pipeline.media.packet_times import PacketTimes

__all__ = ["Clock", "jump_ahead", "read_clock", "repair"]

# s that all clocks must jump ahead together. In transport streams and FLV, whose clocks are those
# of broadcasts, shorter jumps are breaks than in files that state their times.
AHEAD = {"mpegts": 10.0, "mpeg": 10.0, "flv": 10.0}
AHEAD_IN_FILES = 3600.0
LONGEST_DELAY = 60.0  # s between decoding and showing a packet; more is a damaged timestamp


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
                repair(packet, bases.setdefault(index, packet.stream.time_base))
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
                repair(packet, base)
                streams[packet.stream.index].add(
                    order,
                    math.nan if packet.dts is None else _seconds(packet.dts, base),
                    math.nan if packet.pts is None else _seconds(packet.pts, base),
                    _seconds(packet.duration or 0, base),
                )
        ahead = jump_ahead(container)
    return Clock(streams, find_breaks(streams, ahead))


def jump_ahead(container: Any) -> float:
    """Return the seconds that a clock in a container must jump ahead to count as broken."""
    names = container.format.name.split(",")
    return min((AHEAD[name] for name in names if name in AHEAD), default=AHEAD_IN_FILES)


def _seconds(ticks: int, base: Fraction) -> float:
    """Return float(ticks * base), in a tenth of the time."""
    return ticks * base.numerator / base.denominator


def repair(packet: Any, base: Fraction) -> None:
    """Show a packet when it is decoded if its own time is far from that."""
    if packet.pts is not None and packet.dts is not None:
        if _seconds(abs(packet.pts - packet.dts), base) > LONGEST_DELAY:
            packet.pts = packet.dts
