"""Where somebody speaks: Silero voice activity (the model inside faster-whisper), in blocks of bounded size."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.media.decode import RATE, Media

__all__ = ["LONGEST", "speech_regions"]

LONGEST = 28.0  # s: a region fits the 30 s window of Whisper
_BLOCK = 300.0  # s given to the network at once: 20 MB of samples


def speech_regions(
    media: Media, progress: Callable[[float, float], None] | None = None
) -> list[tuple[float, float]]:
    """Regions (start, end) in seconds with speech, in order, apart, each at most `LONGEST`.

    A block that ends in speech gives its last region back to the next one, so blocks leave no seams.
    """
    from faster_whisper.vad import VadOptions, get_speech_timestamps

    options = VadOptions(
        threshold=0.5,
        min_speech_duration_ms=100,
        max_speech_duration_s=LONGEST,
        min_silence_duration_ms=250,
        speech_pad_ms=100,
    )
    regions: list[tuple[float, float]] = []
    start, total = 0.0, media.duration
    while media.has_audio and start < total:
        samples = media.sound(start, start + _BLOCK)
        if not len(samples):
            break
        length = len(samples) / RATE
        found = [
            (float(r["start"]) / RATE, float(r["end"]) / RATE)
            for r in get_speech_timestamps(samples, options)
        ]
        following = start + length
        if found and length >= _BLOCK and found[-1][1] > length - 0.5 and found[-1][0] > length / 2:
            following = start + found.pop()[0]
        regions += [(start + a, start + b) for a, b in found]
        start = following
        if progress:
            progress(min(start, total), total)
    return regions
