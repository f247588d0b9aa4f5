"""Clips that tests build: tones, frames whose grey tells their number, real clips in a row."""

from __future__ import annotations

import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

_WORDS = (
    {"b": "bin", "l": "lay", "p": "place", "s": "set"},
    {"b": "blue", "g": "green", "r": "red", "w": "white"},
    {"a": "at", "b": "by", "i": "in", "w": "with"},
)
_DIGITS = dict(
    zip("z123456789", "zero one two three four five six seven eight nine".split(), strict=True)
)
_ADVERBS = {"a": "again", "n": "now", "p": "please", "s": "soon"}


def grid_sentence(path: Path) -> str:
    """Decode the sentence of a GRID clip from its name: `bbaf2n` is "bin blue at f two now"."""
    code = path.stem.rsplit("_", 1)[-1]
    command, colour, preposition = (
        words[letter] for words, letter in zip(_WORDS, code, strict=False)
    )
    return f"{command} {colour} {preposition} {code[3]} {_DIGITS[code[4]]} {_ADVERBS[code[5]]}"


def tone(seconds: float, rate: int, hertz: float = 440.0) -> np.ndarray:
    """Make a sine of amplitude .5, (n,) float32."""
    times = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * hertz * times)).astype(np.float32)


def write_wav(path: Path, channels: list[np.ndarray], rate: int) -> Path:
    """Write 16-bit PCM, one (n,) array per channel."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(channels))
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.stack(channels, 1) * 32767).round().astype("<i2").tobytes())
    return path


def write_video(
    path: Path,
    times: list[float],
    sound: np.ndarray | None = None,
    sound_at: float = 0.0,
    rate: int = 16_000,
    size: tuple[int, int] = (64, 48),
) -> Path:
    """Write frames at `times` (s) and sound (n,) that starts at `sound_at` s.

    The grey of frame k is 10 k mod 250.
    """
    width, height = size
    with av.open(str(path), "w") as out:
        video = out.add_stream("mpeg4", rate=30)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.time_base = video.codec_context.time_base = Fraction(1, 1000)
        audio = out.add_stream("flac", rate=rate, layout="mono") if sound is not None else None
        for k, time in enumerate(times):
            grey = np.full((height, width, 3), 10 * k % 250, np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, "rgb24")
            frame.pts, frame.time_base = round(1000 * time), Fraction(1, 1000)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if audio is not None:
            for first in range(0, len(sound), 1024):
                samples = (sound[None, first : first + 1024] * 32767).astype(np.int16)
                block = av.AudioFrame.from_ndarray(samples, "s16", "mono")
                block.sample_rate, block.time_base = rate, Fraction(1, rate)
                block.pts = first + round(sound_at * rate)
                out.mux(audio.encode(block))
            out.mux(audio.encode(None))
    return path


def sound_of(path: Path) -> np.ndarray:
    """Decode to (n,) float32 at 16 kHz with libswresample, which merc does not use."""
    resampler, parts = av.AudioResampler("flt", "mono", 16_000), []
    with av.open(str(path)) as container:
        for frame in [*container.decode(audio=0), None]:
            parts += [part.to_ndarray()[0] for part in resampler.resample(frame)]
    return np.concatenate(parts)


def join(path: Path, clips: list[Path]) -> list[tuple[float, float]]:
    """Write the sound of clips one after the other; return the turns (start, end) in seconds."""
    sounds = [sound_of(clip) for clip in clips]
    ends = np.cumsum([len(sound) for sound in sounds]) / 16_000
    write_wav(path, [np.clip(np.concatenate(sounds), -1, 1)], 16_000)
    return list(zip([0.0, *ends[:-1].tolist()], ends.tolist(), strict=True))
