"""Detect speech with Silero VAD (the model inside faster-whisper), in blocks of bounded size.

Far and quiet speakers reach low probabilities only, so the threshold is low. What it lets through
far from any clear speech may be music or noise: such regions are called faint, and their words must
be certain to count.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np

from pipeline.core.weights import check_weights
from pipeline.media.decode import RATE, Media

__all__ = ["CLEAR", "MAX_REGION", "PADDING", "Speech", "detect", "find_speech", "quietest"]

THRESHOLD = 0.25  # probability of speech from which a region begins
RELEASE = 0.1  # probability below which it ends
CLEAR = 0.5  # probability of clear speech
CLEAR_LENGTH = 0.5  # s of it that show that somebody speaks
NEAR = 2.0  # s; a region further than this from clear speech is faint
PADDING = 0.1  # s added at both ends of speech
MAX_REGION = 28.0  # s; fits the 30 s window of Whisper
_BLOCK = 300.0  # s handed to the network at once: 20 MB of samples
_SEAM = 0.5  # s; speech that ends so close to the end of a block may go on in the next one
_FRAME = 0.03  # s over which the power of sound is averaged

Region = tuple[float, float]  # start and end in seconds


@dataclass(frozen=True)
class Speech:
    """Regions with speech, in order; faint: those far from any clear speech."""

    regions: list[Region]
    faint: list[Region]


def find_speech(media: Media) -> Speech:
    """Find the regions of a recording with speech.

    They do not overlap, and last at most `MAX_REGION` seconds each. If a block ends during speech,
    the next block begins with its last region, so no region is cut at a seam.
    """
    regions: list[Region] = []
    clear: list[Region] = []
    start = 0.0
    while media.has_audio and start < media.duration:
        samples = media.sound(start, start + _BLOCK)
        if not len(samples):
            break
        length = len(samples) / RATE
        block = detect(samples)
        clear += [
            (start + first, start + last)
            for first, last in detect(samples, CLEAR, CLEAR - 0.15, 0.0)
            if last - first >= CLEAR_LENGTH
        ]
        next_start = start + length
        if block and length >= _BLOCK:
            last_start, last_end = block[-1]
            if last_end > length - _SEAM and last_start > length / 2:
                next_start = start + last_start
                block.pop()
        regions += [(start + first, start + last) for first, last in block]
        start = next_start
    faint = [
        (first, last)
        for first, last in regions
        if not any(first - NEAR < end and begin < last + NEAR for begin, end in clear)
    ]
    return Speech(regions, faint)


class _HasSound(Protocol):
    def sound(self, start: float, end: float) -> np.ndarray: ...


def quietest(media: _HasSound, start: float, end: float) -> float:
    """Return the quietest moment between two times; the middle if they are close."""
    samples = media.sound(start, end)
    size = round(_FRAME * RATE)
    count = len(samples) // size
    if count < 3:
        return (start + end) / 2
    power = np.square(samples[: count * size].reshape(count, size), dtype=np.float64).sum(1)
    return start + (int(power.argmin()) + 0.5) * _FRAME


def detect(
    samples: np.ndarray,
    threshold: float = THRESHOLD,
    release: float = RELEASE,
    padding: float = PADDING,
) -> list[Region]:
    """Return the regions of speech in samples, (n,) float32 at 16 kHz, in seconds."""
    _check_network()
    from faster_whisper.vad import VadOptions, get_speech_timestamps

    options = VadOptions(
        threshold=threshold,
        neg_threshold=release,
        min_speech_duration_ms=100,
        max_speech_duration_s=MAX_REGION,
        min_silence_duration_ms=250,
        speech_pad_ms=round(1000 * padding),
    )
    return [
        (float(region["start"]) / RATE, float(region["end"]) / RATE)
        for region in get_speech_timestamps(samples, options)
    ]


@cache
def _check_network() -> None:
    from faster_whisper.utils import get_assets_path

    check_weights("voice activity", Path(get_assets_path()) / "silero_vad_v6.onnx")
