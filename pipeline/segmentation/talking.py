"""When somebody speaks, when two do, and where the voice changes, by a network that hears 10 s.

The network tells up to three people apart within its 10 s (`extractors.talking`). Its windows
overlap, and their frames coincide. Whether somebody speaks, or two do at once, is their weighted
mean; whether the voice changes is asked of the window in whose middle it would be.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import count, pairwise
from weakref import WeakKeyDictionary

import numpy as np

from extractors.talking import CENTRE, HOP, SECONDS, load_talking
from extractors.threads import side_by_side
from pipeline.core.resources import threads_of_process
from pipeline.media.decode import RATE, Media

__all__ = [
    "HOP",
    "STEP",
    "Talk",
    "frame_of",
    "heard",
    "listen",
    "runs",
    "seconds_of",
    "two_between",
]

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
TOGETHER = 12  # frames, 0.2 s, for which two speak at once if that counts
_WIDTH = round(SECONDS * RATE)
_EDGE = 60  # frames, 1 s, at the ends of a window that count less: what surrounds them is unknown
_BLOCK = 32  # windows whose sound is in memory at once
_BATCH = 4  # windows in the network at once: 80 MB
_AT_ONCE = 2  # batches, on threads


@dataclass(frozen=True)
class Talk:
    """What the network hears in each window.

    starts: (n,) first frame of each window, in order; the first 60 frames are before the recording.
    windows: (n, frames, 3) probabilities that each of three people speaks; who is who differs
    between windows. both: (n, frames) probabilities that two of them do. seconds: of the
    recording.
    """

    starts: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    windows: np.ndarray = field(default_factory=lambda: np.zeros((0, 1, 3), np.float32))
    both: np.ndarray = field(default_factory=lambda: np.zeros((0, 1), np.float32))
    seconds: float = 0.0

    @cached_property
    def speech(self) -> np.ndarray:
        """The probability that somebody speaks, (frames,) float32."""
        return self._mean(self.windows.max(2))

    @cached_property
    def two(self) -> np.ndarray:
        """The probability that two people speak at once, (frames,) float32."""
        return self._mean(self.both)

    def overlap(self, start: float, end: float) -> float:
        """Return the probability that two people speak at once for 0.2 s between two times."""
        part = self.two[frame_of(start) : max(frame_of(end), frame_of(start) + 1)]
        if not len(part):
            return 0.0
        size = min(TOGETHER, len(part))
        return float(np.convolve(part, np.full(size, 1 / size), "valid").max())

    def regions(self) -> list[tuple[float, float]]:
        """Return (start, end) of speech in seconds, in order, at most `LONGEST` seconds each."""
        spans: list[list[int]] = []
        for start, end in runs(self.speech >= OFF):
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
                max(0.0, seconds_of(start) - (PADDING if first else 0)),
                min(self.seconds, seconds_of(end) + (PADDING if last else 0)),
            )
            for start, end, first, last in parts
        ]
        return [(start, end) for start, end in padded if start < end]

    def clear(self) -> list[tuple[float, float]]:
        """Return (start, end) in seconds of what is speech for certain, in order."""
        spans = [(seconds_of(start), seconds_of(end)) for start, end in runs(self.speech >= CLEAR)]
        return [(start, end) for start, end in spans if end - start >= CLEAR_LENGTH]

    def _mean(self, values: np.ndarray) -> np.ndarray:
        """Return the weighted mean (frames,) of what the windows (n, frames) say."""
        if not len(self.starts):
            return np.zeros(0, np.float32)
        frames = values.shape[1]
        place = np.arange(frames)
        trust = np.clip(np.minimum(place + 1, frames - place) / _EDGE, 0.05, 1)
        total = np.zeros((int(self.starts[-1]) + frames, 2))
        for start, row in zip(self.starts, values, strict=True):
            total[start : start + frames, 0] += trust * row
            total[start : start + frames, 1] += trust
        return (total[:, 0] / total[:, 1]).astype(np.float32)

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
        middle = frame_of(time)
        k = int(np.abs(self.starts + frames / 2 - middle).argmin())
        side, least = round(SIDE * RATE / HOP), round(MIN_SIDE * RATE / HOP)
        first = max(middle - side, frame_of(start), int(self.starts[k]))
        last = min(middle + side, frame_of(end), int(self.starts[k]) + frames)
        if min(middle - first, last - middle) < least:
            return 0.0
        window, cut = self.windows[k], middle - int(self.starts[k])
        before = window[cut - (middle - first) : cut].mean(0)
        after = window[cut : cut + last - middle].mean(0)
        if min(before.max(), after.max()) < ACTIVE:
            return 0.0
        cosine = before @ after / (np.linalg.norm(before) * np.linalg.norm(after))
        return float(max(0.0, 1 - cosine / SIMILAR))


_heard: WeakKeyDictionary[Media, Talk] = WeakKeyDictionary()


def heard(media: Media) -> Talk:
    """Return what `listen` does; the same recording is listened to once while it is open."""
    if media not in _heard:
        _heard[media] = listen(media)
    return _heard[media]


def listen(media: Media, step: int = STEP) -> Talk:
    """Run the network over a recording that has sound.

    step: frames from one window to the next. The memory that stays is 0.7 MB per five minutes.
    """
    starts: list[int] = []
    rows: list[np.ndarray] = []
    seconds = 0.0
    size = (_BLOCK - 1) * step * HOP + _WIDTH
    for block in count(0, _BLOCK * step):
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
        here = [*range(0, last + 1, step)][:_BLOCK]
        if ended and here[-1] < last:
            here.append(last)
        starts += [block + start for start in here]
        rows.append(_hear(samples, here))
        if ended:
            break
    if not rows:
        return Talk()
    found = np.concatenate(rows)
    return Talk(np.array(starts), found[..., :-1], found[..., -1], seconds)


def two_between(media: Media, start: float, end: float) -> float:
    """Listen again, with two times in the middle of a window: how likely two speak between them.

    The mean probability of the time; of what is longer than a window, the middle counts.
    """
    first = round(((start + end) / 2 - SECONDS / 2) * RATE)
    sound = media.sound(max(0, first) / RATE, (first + _WIDTH) / RATE)
    samples = np.pad(sound, (max(0, -first), 0))
    samples = np.pad(samples, (0, _WIDTH - len(samples)))
    both = _hear(samples, [0])[0, :, -1]
    begin, last = (round((time * RATE - first - CENTRE) / HOP) for time in (start, end))
    return float(both[max(0, begin) : max(last, begin + 1)].mean())


def _hear(samples: np.ndarray, starts: list[int]) -> np.ndarray:
    network = load_talking()

    def hear(first: int) -> np.ndarray:
        batch = [
            samples[start * HOP : start * HOP + _WIDTH] for start in starts[first : first + _BATCH]
        ]
        return network(np.stack(batch))

    with side_by_side(min(threads_of_process(), _AT_ONCE)) as pool:
        return np.concatenate(list(pool.map(hear, range(0, len(starts), _BATCH))))


def runs(true: np.ndarray) -> list[tuple[int, int]]:
    """Return (start, end) of the runs of True in a row, in order."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], true, [False]]).astype(int)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def seconds_of(frame: int) -> float:
    """Return the time at which a frame of a recording begins."""
    return (CENTRE + HOP * (frame - SILENT - 0.5)) / RATE


def frame_of(seconds: float) -> int:
    """Return the frame of a recording that begins nearest to a time."""
    return max(0, round((seconds * RATE - CENTRE) / HOP + 0.5) + SILENT)
