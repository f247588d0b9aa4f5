"""Detect speech with Silero VAD (the model inside faster-whisper), in blocks of bounded size."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pipeline.core.weights import check_weights
from pipeline.media.decode import RATE, Media

__all__ = ["MAX_REGION", "PADDING", "speech_regions"]

PADDING = 0.1  # s added at both ends of speech
MAX_REGION = 28.0  # s; fits the 30 s window of Whisper
_BLOCK = 300.0  # s handed to the network at once: 20 MB of samples
_SEAM = 0.5  # s; speech that ends so close to the end of a block may go on in the next one


def speech_regions(media: Media) -> list[tuple[float, float]]:
    """Return the regions (start, end) with speech, in seconds.

    They are in order, do not overlap, and last at most `MAX_REGION` seconds each. If a block ends
    during speech, the next block begins with its last region, so no region is cut at a seam.
    """
    from faster_whisper.vad import VadOptions, get_speech_timestamps

    _check_network()
    options = VadOptions(
        threshold=0.5,
        min_speech_duration_ms=100,
        max_speech_duration_s=MAX_REGION,
        min_silence_duration_ms=250,
        speech_pad_ms=round(1000 * PADDING),
    )
    regions: list[tuple[float, float]] = []
    start = 0.0
    while media.has_audio and start < media.duration:
        samples = media.sound(start, start + _BLOCK)
        if not len(samples):
            break
        length = len(samples) / RATE
        block = [
            (float(region["start"]) / RATE, float(region["end"]) / RATE)
            for region in get_speech_timestamps(samples, options)
        ]
        next_start = start + length
        if block and length >= _BLOCK:
            last_start, last_end = block[-1]
            if last_end > length - _SEAM and last_start > length / 2:
                next_start = start + last_start
                block.pop()
        regions += [(start + first, start + last) for first, last in block]
        start = next_start
    return regions


@cache
def _check_network() -> None:
    from faster_whisper.utils import get_assets_path

    check_weights("voice activity", Path(get_assets_path()) / "silero_vad_v6.onnx")
