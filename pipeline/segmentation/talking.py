"""When somebody speaks, and where the voice changes, by a network that hears 10 s at a time.

The network tells up to three people apart within its 10 s (`extractors.talking`). Its windows
overlap, and their frames coincide. Whether somebody speaks is their weighted mean; whether
the voice changes is asked of the window in whose middle it would be.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import count, pairwise

import numpy as np
import torch

from extractors.talking import CENTRE, HOP, SECONDS, load_talking
from extractors.threads import one_thread
from pipeline.media.decode import RATE, Media

__all__ = ["Talk", "listen"]

STEP = 237  # frames, 4 s, from one window to the next
ON, OFF = 0.4, 0.3  # probability of speech at which a region begins and ends
SILENT = 60  # frames, 1 s, before and after a recording: where it begins, little is certain
SILENCE = 0.2  # s; shorter ones are part of a region
PADDING = 0.05  # s added at both ends of a region
SHORTEST = 0.1  # s
LONGEST = 12.0  # s
CLEAR = 0.6  # probability of clear speech
CLEAR_LENGTH = 0.4  # s of it that show that somebody speaks
SIDE = 1.0  # s before and after a change of voice that are compared, at most
MIN_SIDE = 0.3  # s of them that are needed
SIMILAR = 0.5  # cosine of who speaks before and after, below which the voice changes
ACTIVE = 0.5  # probability that somebody speaks on each side of a change
_WIDTH = round(SECONDS * RATE)
_EDGE = 60  # frames, 1 s, at the ends of a window that count less: what surrounds them is unknown
_BLOCK = 32  # windows whose sound is in memory at once
_BATCH = 4  # windows in the network at once: 80 MB


@dataclass(frozen=True)
class Talk:
    """What the network hears in each window.

    starts: (n,) first frame of each window, in order; the first 60 frames are before the recording.
    windows: (n, frames, 3) probabilities that each of three people speaks; who is who differs
    between windows. seconds: of the recording.
    """

    starts: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    windows: np.ndarray = field(default_factory=lambda: np.zeros((0, 1, 3), np.float32))
    seconds: float = 0.0

    @cached_property
    def speech(self) -> np.ndarray:
        """The probability that somebody speaks, (frames,) float32."""
        if not len(self.starts):
            return np.zeros(0, np.float32)
        frames = self.windows.shape[1]
        place = np.arange(frames)
        trust = np.clip(np.minimum(place + 1, frames - place) / _EDGE, 0.05, 1)
        total = np.zeros((int(self.starts[-1]) + frames, 2))
        for start, window in zip(self.starts, self.windows, strict=True):
            total[start : start + frames, 0] += trust * window.max(1)
            total[start : start + frames, 1] += trust
        return (total[:, 0] / total[:, 1]).astype(np.float32)

    def regions(self) -> list[tuple[float, float]]:
        """Return (start, end) of speech in seconds, in order, at most `LONGEST` seconds each."""
        spans: list[list[int]] = []
        for start, end in _runs(self.speech >= OFF):
            if self.speech[start:end].max() < ON:
                continue
            if spans and (start - spans[-1][1]) * HOP / RATE < SILENCE:
                spans[-1][1] = end
            else:
                spans.append([start, end])
        parts = [
            part
            for start, end in spans
            if (end - start) * HOP / RATE >= SHORTEST
            for part in self._split(start, end)
        ]
        padded = [
            (
                max(0.0, _seconds(start) - (PADDING if first else 0)),
                min(self.seconds, _seconds(end) + (PADDING if last else 0)),
            )
            for start, end, first, last in parts
        ]
        return [(start, end) for start, end in padded if start < end]

    def clear(self) -> list[tuple[float, float]]:
        """Return (start, end) in seconds of what is speech for certain, in order."""
        spans = [(_seconds(start), _seconds(end)) for start, end in _runs(self.speech >= CLEAR)]
        return [(start, end) for start, end in spans if end - start >= CLEAR_LENGTH]

    def _split(self, start: int, end: int) -> list[tuple[int, int, bool, bool]]:
        """Split frames where speech is least likely; also whether a part is the first or last."""
        limit = int((LONGEST - 2 * PADDING) * RATE / HOP)
        edges = [start]
        while end - edges[-1] > limit:
            middle = edges[-1] + limit // 2
            edges.append(middle + int(self.speech[middle : edges[-1] + limit].argmin()))
        edges.append(end)
        return [(a, b, a == start, b == end) for a, b in pairwise(edges)]

    def change(self, start: float, time: float, end: float) -> float:
        """Say how much the voice changes at `time`, in speech from `start` to `end` (seconds).

        Above 0, another person speaks after it than before; 1 at most.
        """
        if not len(self.starts):
            return 0.0
        frames = self.windows.shape[1]
        middle = _frame(time)
        k = int(np.abs(self.starts + frames / 2 - middle).argmin())
        side, least = round(SIDE * RATE / HOP), round(MIN_SIDE * RATE / HOP)
        first = max(middle - side, _frame(start), int(self.starts[k]))
        last = min(middle + side, _frame(end), int(self.starts[k]) + frames)
        if min(middle - first, last - middle) < least:
            return 0.0
        window, cut = self.windows[k], middle - int(self.starts[k])
        before = window[cut - (middle - first) : cut].mean(0)
        after = window[cut : cut + last - middle].mean(0)
        if min(before.max(), after.max()) < ACTIVE:
            return 0.0
        cosine = before @ after / (np.linalg.norm(before) * np.linalg.norm(after))
        return float(max(0.0, 1 - cosine / SIMILAR))


def listen(media: Media) -> Talk:
    """Run the network over a recording that has sound.

    The memory that stays is 0.5 MB per five minutes.
    """
    starts: list[int] = []
    rows: list[np.ndarray] = []
    seconds = 0.0
    size = (_BLOCK - 1) * STEP * HOP + _WIDTH
    for block in count(0, _BLOCK * STEP):
        begin = (block - SILENT) * HOP  # samples; silence comes before and after the recording
        sound = media.sound(max(0, begin) / RATE, (begin + size) / RATE)
        if not len(sound):
            break
        seconds = (max(0, begin) + len(sound)) / RATE
        samples = np.pad(sound, (max(0, -begin), 0))
        ended = len(samples) < size
        if ended:
            samples = np.pad(samples, (0, max(SILENT * HOP, _WIDTH - len(samples))))
        last = (len(samples) - _WIDTH) // HOP  # frame at which the last window can start
        here = [*range(0, last + 1, STEP)][:_BLOCK]
        if ended and here[-1] < last:
            here.append(last)
        starts += [block + start for start in here]
        rows.append(_hear(samples, here))
        if ended:
            break
    return Talk(np.array(starts), np.concatenate(rows), seconds) if rows else Talk()


def _hear(samples: np.ndarray, starts: list[int]) -> np.ndarray:
    network = load_talking()
    rows = []
    with torch.inference_mode(), one_thread():
        for first in range(0, len(starts), _BATCH):
            batch = [
                samples[start * HOP : start * HOP + _WIDTH]
                for start in starts[first : first + _BATCH]
            ]
            rows.append(network(torch.from_numpy(np.stack(batch))).numpy())
    return np.concatenate(rows)


def _runs(true: np.ndarray) -> list[tuple[int, int]]:
    """Return (start, end) of the runs of True in a row, in order."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], true, [False]]).astype(int)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _seconds(frame: int) -> float:
    return (CENTRE + HOP * (frame - SILENT - 0.5)) / RATE


def _frame(seconds: float) -> int:
    return max(0, round((seconds * RATE - CENTRE) / HOP + 0.5) + SILENT)
