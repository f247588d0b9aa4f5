"""The faces of one utterance, collected while its frames pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from extractors.speaking import MouthSignal
from extractors.tracks import Track
from pipeline.core.errors import MercError

__all__ = ["MAX_CROPS", "FaceSpan", "Sound", "SpanBox", "SpanFace", "cut_sound", "open_spans"]

MAX_CROPS = 100  # of one face in one utterance; of more, every second one is dropped
MAX_FACES = 32  # of one utterance, those visible in most frames
BOX_STEP = 0.5  # s between the boxes that are noted
RATE = 16000  # Hz, of sound that a function returns
MIN_DURATION = 0.2  # s: a shorter utterance is widened, to contain frames at 10 frames/s

# seconds; left, top, width and height as shares of the frame
SpanBox = tuple[float, float, float, float, float]
# samples (n,) of the recording and their rate, or a function from (start, end) to samples
Sound = tuple[np.ndarray, int] | Callable[[float, float], np.ndarray] | None


@dataclass
class SpanFace:
    """One face in one utterance: sums over its frames, and every `stride`-th crop.

    boxes: where it is, about every half second; the last one is that of its last frame.
    """

    mouth: MouthSignal = field(default_factory=MouthSignal)
    boxes: list[SpanBox] = field(default_factory=list)
    crops: list[np.ndarray] = field(default_factory=list)
    stride: int = 1
    frames: int = 0
    score: float = 0.0
    side: float = 0.0
    x: float = 0.0
    y: float = 0.0

    def add(
        self,
        time: float,
        track: Track,
        crop: np.ndarray,
        mouth: tuple[float, float],
        shape: tuple[int, ...],
    ) -> None:
        """Add one frame of (height, width) `shape`. mouth: openness and motion."""
        if self.frames % self.stride == 0:
            self.crops.append(crop)
            if len(self.crops) > MAX_CROPS:
                self.crops, self.stride = self.crops[::2], 2 * self.stride
        left, top, width, height = track.box
        x, y = (left + width / 2) / shape[1], (top + height / 2) / shape[0]
        if len(self.boxes) > 1 and time - self.boxes[-2][0] < BOX_STEP:
            self.boxes.pop()
        high, wide = shape[:2]
        self.boxes.append((time, left / wide, top / high, width / wide, height / high))
        self.frames += 1
        self.score += track.score
        self.side += max(width, height)
        self.x += x
        self.y += y
        self.mouth.times.append(time)
        self.mouth.openness.append(mouth[0])
        self.mouth.motion.append(mouth[1])
        self.mouth.area += width * height / (shape[0] * shape[1])
        distance = math.hypot(x - 0.5, y - 0.5) / math.hypot(0.5, 0.5)
        self.mouth.centrality += max(0.0, 1 - distance)


@dataclass
class FaceSpan:
    """An utterance, from `start` to `end` seconds, and its faces: number of the track -> face."""

    index: int
    start: float
    end: float
    faces: dict[int, SpanFace] = field(default_factory=dict)
    frames: int = 0
    too_small: int = 0  # faces that were too small to use, over all frames

    def add(
        self,
        time: float,
        track: Track,
        crop: np.ndarray,
        mouth: tuple[float, float],
        shape: tuple[int, ...],
    ) -> None:
        """Add one face of one frame; drop the face of fewest frames if there are too many."""
        self.faces.setdefault(track.number, SpanFace()).add(time, track, crop, mouth, shape)
        if len(self.faces) > MAX_FACES:
            others = self.faces.keys() - {track.number}
            del self.faces[min(others, key=lambda number: self.faces[number].frames)]


def open_spans(spans: Sequence[tuple[float, float]]) -> list[FaceSpan]:
    """Return the spans that have times (not NaN), by their start.

    >>> [(span.index, span.start) for span in open_spans([(2.0, 3.0), (1.0, 4.0)])]
    [(1, 1.0), (0, 2.0)]

    Raises MercError for a span that ends before it starts.
    """
    result = []
    for index, (start, end) in enumerate(spans):
        if math.isnan(start) or math.isnan(end):
            continue
        if end < start:
            raise MercError(
                f"span {index} ends at {end} s, before it starts at {start} s",
                "correct the times of the utterance",
            )
        margin = max(0.0, MIN_DURATION - (end - start)) / 2
        result.append(FaceSpan(index, start - margin, end + margin))
    return sorted(result, key=lambda span: span.start)


def cut_sound(sound: Sound, span: FaceSpan) -> tuple[np.ndarray | None, int, float]:
    """Return an utterance's samples, their rate and the time of the first."""
    start, end = max(0.0, span.start), span.end
    if sound is None:
        return None, RATE, start
    if callable(sound):
        return np.asarray(sound(start, end), dtype=np.float32), RATE, start
    samples, rate = sound
    if np.ndim(samples) != 1:
        raise MercError(
            f"sound has shape {np.shape(samples)}, expected one channel, (n,)",
            "average the channels first",
        )
    first = round(start * rate)
    return np.asarray(samples[first : round(end * rate)], dtype=np.float32), rate, first / rate
