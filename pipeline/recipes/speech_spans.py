"""Where a clean clip holds speech."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pipeline.media.decode import RATE

__all__ = ["SpokenClip", "speech_spans", "spoken_clips"]

QUIET = 25.0  # dB below the loud parts of a clip: pauses
FLOOR_SHARE = 0.35  # of the way in dB from the noise of a clip to its loud parts: likewise
PAUSE = 0.3  # s; shorter pauses belong to the speech around them

SpokenClip = tuple[np.ndarray, list[tuple[float, float]]]  # sound, and its spans of speech in s


def spoken_clips(sounds: Iterable[np.ndarray]) -> list[SpokenClip]:
    """Return the clips that hold speech, without the silence around it, with their spans of it."""
    clips = []
    for sound in sounds:
        if spans := speech_spans(sound):
            first, last = spans[0][0], spans[-1][1]
            moved = [(start - first, end - first) for start, end in spans]
            clips.append((sound[round(first * RATE) : round(last * RATE)], moved))
    return clips


def speech_spans(clip: np.ndarray) -> list[tuple[float, float]]:
    """Return the spans (start, end) of a clean clip that are clearly louder than its noise."""
    hop = RATE // 100
    frames = clip[: len(clip) // hop * hop].reshape(-1, hop)
    power = np.convolve(np.square(frames).mean(1), np.ones(3) / 3, "same")
    level = 10 * np.log10(power + 1e-10)
    floor, top = np.quantile(level, (0.05, 0.95))
    loud = np.flatnonzero(level > max(top - QUIET, floor + FLOOR_SHARE * (top - floor)))
    spans: list[list[float]] = []
    for k in loud:
        if spans and k / 100 - spans[-1][1] < PAUSE:
            spans[-1][1] = (k + 1) / 100
        else:
            spans.append([k / 100, (k + 1) / 100])
    return [(start, end) for start, end in spans if end - start > 0.1]
