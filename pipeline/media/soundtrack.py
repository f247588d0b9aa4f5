"""Decode the sound of a recording: choose its streams and channels, mix them, remove an offset."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.media.clock import Clock
from pipeline.media.containers import frames_of, open_container, packets
from pipeline.media.levels import Levels
from pipeline.media.mixing import AudioStream, Choice, choose, mean_weights
from pipeline.media.resampling import RATE
from pipeline.media.sound import LONGEST, SoundFile, SoundWriter

__all__ = ["Soundtrack", "decode_soundtrack"]

# A constant offset is removed if it is larger than both. Recordings of sound cards and cameras
# have offsets up to 0.002, which do no harm.
MIN_OFFSET = 0.004  # full scale is 1
MIN_OFFSET_SHARE = 0.05  # of the effective value of the sound
CUTOFF = 5.0  # Hz, of the high-pass filter that removes an offset that changes


@dataclass
class Soundtrack:
    """The decoded sound of a recording.

    streams: indices of the streams it comes from, none if there is none. mix: how they became one
    channel, in words. errors: number of damaged places.
    """

    sound: SoundFile = field(default_factory=SoundFile)
    streams: tuple[int, ...] = ()
    mix: str | None = None
    levels: list[Levels] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    errors: int = 0

    def power(self, start: float, end: float) -> np.ndarray:
        """Return the mean power of each channel of the streams between two times, (c,)."""
        parts = [levels.power(start, end) for levels in self.levels]
        return np.concatenate(parts) if parts else np.zeros(0)


def decode_soundtrack(
    path: Path, streams: list[AudioStream], clock: Clock, zero: float
) -> Soundtrack:
    """Decode the sound of a recording.

    streams: the preferred one first. zero: the timestamp of time 0, in seconds.

    One pass decodes the preferred stream and measures the others. Only if another choice is better
    does a second pass decode that.
    """
    if not streams:
        return Soundtrack()
    first = streams[0].index
    sound = SoundFile()
    writers = {
        stream.index: SoundWriter(sound if stream.index == first else None, zero)
        for stream in streams
    }
    errors = _decode(path, writers, clock)
    choice = choose(streams, {index: writer.levels for index, writer in writers.items()})
    if choice.streams != (first,) or choice.weights:
        sound.close()
        sound, choice = _decode_choice(path, choice, clock, zero)
    sound, offset = _without_offset(sound)
    used = [writers[index] for index in choice.streams]
    result = Soundtrack(sound, choice.streams, choice.mix, [writer.levels for writer in used])
    result.errors = errors[-1] + sum(errors[index] for index in choice.streams)
    result.warnings = [*choice.warnings, *_warnings(used, offset)]
    if offset:
        result.mix = f"{choice.mix}, offset removed"
    if not sound.samples:
        result.streams, result.mix = (), None
    return result


def _decode(path: Path, writers: dict[int, SoundWriter], clock: Clock) -> dict[int, int]:
    """Decode streams; return the number of errors of each, and under -1 those of the container."""
    errors: dict[int, list[str]] = {index: [] for index in (-1, *writers)}
    with open_container(path) as container:
        streams = [container.streams[index] for index in writers]
        for packet in clock.corrected(packets(container, streams, errors[-1])):
            index = packet.stream.index
            for frame in frames_of(packet, errors[index]):
                writers[index].write(frame)
            if all(writer.full for writer in writers.values()):
                break
    for writer in writers.values():
        writer.close()
    return {index: len(texts) for index, texts in errors.items()}


def _decode_choice(
    path: Path, choice: Choice, clock: Clock, zero: float
) -> tuple[SoundFile, Choice]:
    """Decode the chosen streams and mix them."""
    sounds = {index: SoundFile() for index in choice.streams}
    writers = {
        index: SoundWriter(sound, zero, choice.weights.get(index))
        for index, sound in sounds.items()
    }
    _decode(path, writers, clock)
    if len(sounds) == 1:
        return next(iter(sounds.values())), choice
    mixed, turned = _mean(list(sounds.values()))
    if turned:
        names = ", ".join(str(choice.streams[k]) for k in turned)
        choice = replace(choice, mix=f"{choice.mix}, stream {names} inverted")
    return mixed, choice


def _mean(sounds: list[SoundFile]) -> tuple[SoundFile, list[int]]:
    """Average sounds, and close them; also return which of them were inverted to that end."""

    def blocks() -> Any:
        for first in range(0, max(sound.samples for sound in sounds), 1 << 20):
            parts = [sound.read(first, first + (1 << 20)) for sound in sounds]
            length = max(map(len, parts))
            yield np.stack([np.pad(part, (0, length - len(part))) for part in parts])

    covariance = np.zeros((len(sounds), len(sounds)))
    for block in blocks():
        block = block.astype(np.float64)
        block -= block.mean(1, keepdims=True)
        covariance += block @ block.T
    weights = mean_weights(covariance)
    mixed = SoundFile()
    for block in blocks():
        mixed.append(np.einsum("c,cn->n", np.array(weights), block))
    mixed.finish()
    for sound in sounds:
        sound.close()
    return mixed, [k for k, weight in enumerate(weights) if weight < 0]


def _without_offset(sound: SoundFile) -> tuple[SoundFile, float]:
    """Remove an offset, if there is one, and return its size: 0 if there is none to remove.

    A constant offset is subtracted; one that changes is removed by a high-pass filter.
    """
    if not sound.samples:
        return sound, 0.0
    means: list[float] = []
    powers: list[float] = []
    for block in sound.blocks(RATE):
        if means and len(block) < RATE // 2:
            break  # the mean of the few samples of a last block is no offset
        means.append(float(block.mean(dtype=np.float64)))
        powers.append(float(np.square(block, dtype=np.float64).mean()))
    offset = math.sqrt(np.square(means).mean())
    effective = math.sqrt(max(0.0, float(np.mean(powers)) - offset**2))
    if offset < max(MIN_OFFSET, MIN_OFFSET_SHARE * effective):
        return sound, 0.0
    constant, result = float(np.mean(means)), SoundFile()
    if np.std(means) < max(MIN_OFFSET, 0.1 * offset):
        for block in sound.blocks():
            result.append(block - np.float32(constant))
    else:
        from scipy.signal import lfilter

        pole = math.exp(-2 * math.pi * CUTOFF / RATE)
        state = np.array([-means[0]])  # as if the first offset had always been there
        for block in sound.blocks():
            filtered, state = lfilter([1.0, -1.0], [1.0, -pole], block.astype(float), zi=state)
            result.append(filtered.astype(np.float32))
    result.finish()
    sound.close()
    return result, offset


def _warnings(writers: list[SoundWriter], offset: float) -> list[str]:
    warnings = []
    if offset:
        warnings.append(f"its sound has an offset of {offset:.2g} from zero; it is removed")
    for writer in writers:
        if writer.refused is not None:
            warnings.append(
                f"part of its sound has a sample rate of {writer.refused} Hz, a damaged header; "
                "that part is ignored"
            )
        if writer.damaged:
            warnings.append(
                f"{writer.damaged} samples of its sound are no numbers or far beyond full scale; "
                "they count as silence"
            )
        if writer.full:
            warnings.append(
                f"its sound is longer than {LONGEST // 3600} hours; what follows is ignored. Split "
                "the recording"
            )
    return warnings
