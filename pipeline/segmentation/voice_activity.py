"""Find the regions of a recording with speech.

The recogniser reads what Silero VAD (the model inside faster-whisper) takes for speech, and what a
network that was trained on conversations hears beside that (`talking`). Silero's threshold is low:
far and quiet speakers reach low probabilities only. Regions far from what is clear to the network
are called faint, and their words must be certain to count. The network takes sirens and noise that
swells as fast as syllables for speech, so what it hears counts only where Silero hears some of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np

from pipeline.core.weights import check_weights
from pipeline.media.decode import RATE, Media
from pipeline.segmentation.spans import uncovered
from pipeline.segmentation.talking import Talk, heard

__all__ = [
    "CLEAR",
    "MAX_REGION",
    "NO_SPEECH",
    "PADDING",
    "Speech",
    "detect",
    "find_speech",
    "quietest",
    "stretches",
]

THRESHOLD = 0.25  # probability of speech from which a region begins
RELEASE = 0.1  # probability below which it ends
CLEAR = 0.5  # probability of clear speech
NEAR = 2.0  # s; a region further than this from clear speech is faint
PADDING = 0.1  # s added at both ends of speech
MAX_REGION = 28.0  # s; fits the 30 s window of Whisper
CONFIRMED = 0.25  # share of a stretch of the network's speech that Silero must hear, too
MISSED = 1.0  # s; what the network alone takes for speech is read if it lasts as long
QUIET = 0.1  # peak of full scale below which Silero hears sound amplified to five times as much
_LEAST_PEAK = 1e-4  # of sound that is amplified
_BLOCK = 300.0  # s handed to Silero at once: 20 MB of samples
_SEAM = 0.5  # s; speech that ends so close to the end of a block may go on in the next one
_FRAME = 0.03  # s over which the power of sound is averaged

Region = tuple[float, float]  # start and end in seconds


@dataclass(frozen=True)
class Speech:
    """Where somebody speaks.

    regions: what the recogniser reads, in order, at most `MAX_REGION` seconds each. faint: those of
    them that are far from any clear speech. certain: what the network takes for speech, near clear
    speech. talk: who speaks, by the network.
    """

    regions: list[Region]
    faint: list[Region]
    certain: list[Region]
    talk: Talk


NO_SPEECH = Speech([], [], [], Talk())


def find_speech(media: Media) -> Speech:
    """Find the regions of a recording with speech; they do not overlap.

    Silero's, and what the network hears beside them.
    """
    if not media.has_audio:
        return NO_SPEECH
    talk, regions = heard(media), _silero(media)
    speech = _confirmed(talk.regions(), regions)
    clear = _confirmed(talk.clear(), speech)
    regions = sorted([*regions, *_outside(speech, regions)])
    near = set(_near(regions, clear))
    faint = [region for region in regions if region not in near]
    return Speech(regions, faint, _near(speech, clear), talk)


def _confirmed(regions: list[Region], others: list[Region]) -> list[Region]:
    """Return the regions in stretches of which others cover `CONFIRMED` or more; all in order.

    Regions that touch are one stretch.

    >>> _confirmed([(0.0, 8.0), (8.0, 10.0), (11.0, 15.0)], [(7.0, 9.5), (14.5, 16.0)])
    [(0.0, 8.0), (8.0, 10.0)]
    """
    kept: list[Region] = []
    first = 0
    for stretch in stretches(regions):
        start, end = stretch[0][0], stretch[-1][1]
        while first < len(others) and others[first][1] <= start:
            first += 1
        covered, k = 0.0, first
        while k < len(others) and others[k][0] < end:
            covered += min(end, others[k][1]) - max(start, others[k][0])
            k += 1
        if covered >= CONFIRMED * (end - start):
            kept += stretch
    return kept


def stretches(regions: list[Region]) -> list[list[Region]]:
    """Group regions, in order, that touch.

    >>> stretches([(0.0, 12.0), (12.0, 15.0), (16.0, 17.0)])
    [[(0.0, 12.0), (12.0, 15.0)], [(16.0, 17.0)]]
    """
    groups: list[list[Region]] = []
    for region in regions:
        if groups and region[0] <= groups[-1][-1][1]:
            groups[-1].append(region)
        else:
            groups.append([region])
    return groups


def _near(regions: list[Region], clear: list[Region]) -> list[Region]:
    """Return the regions that are less than `NEAR` seconds from clear speech; both in order."""
    near = []
    first = 0
    for start, end in regions:
        while first < len(clear) and clear[first][1] <= start - NEAR:
            first += 1
        if first < len(clear) and clear[first][0] < end + NEAR:
            near.append((start, end))
    return near


def _silero(media: Media) -> list[Region]:
    """If a block ends during speech, the next begins with its last region: no seam cuts one."""
    regions: list[Region] = []
    start = 0.0
    while start < media.duration:
        samples = media.sound(start, start + _BLOCK)
        if not len(samples):
            break
        length = len(samples) / RATE
        peak = float(np.abs(samples).max())
        block = detect(samples * (5 * QUIET / peak) if _LEAST_PEAK < peak < QUIET else samples)
        next_start = start + length
        if block and length >= _BLOCK:
            last_start, last_end = block[-1]
            if last_end > length - _SEAM and last_start > length / 2:
                next_start = start + last_start
                block.pop()
        regions += [(start + first, start + last) for first, last in block]
        start = next_start
    return regions


def _outside(regions: list[Region], others: list[Region]) -> list[Region]:
    """Return the parts of regions outside others that last `MISSED` seconds; both in order.

    >>> _outside([(0.0, 4.0), (6.0, 7.0)], [(1.0, 1.8), (6.2, 7.5)])
    [(0.0, 1.0), (1.8, 4.0)]
    """
    parts = []
    first = 0
    for start, end in regions:
        while first < len(others) and others[first][1] <= start:
            first += 1
        last = first
        while last < len(others) and others[last][0] < end:
            last += 1
        outside = uncovered(start, end, others[first:last])
        parts += [(one, other) for one, other in outside if other - one >= MISSED]
    return parts


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
