"""The audio of a recording as 16 kHz mono samples in a temporary file.

Samples are streamed in and read back by time, so memory does not grow with the recording.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from pipeline.core.errors import MercError
from pipeline.media.levels import Levels
from pipeline.media.resampling import RATE, StreamResampler

__all__ = ["JITTER", "LONGEST", "RATES", "SoundFile", "SoundWriter", "channels", "mix"]

RATES = (1000, 1_000_000)  # Hz; another sample rate is a damaged header
LONGEST = 24 * 3600  # s of sound; bounds the temporary file to 5.5 GB
_BLOCK = 1 << 20  # samples read at once: 4 MB
JITTER = 0.05  # s; timestamps may be off by this much
_MAX_SAMPLE = 64  # full scale is 1; damaged floats reach 1e38, and count as silence


def channels(frame: Any) -> np.ndarray:
    """Convert a decoded PyAV audio frame to (channels, n) floats, full scale ±1.

    Floating-point audio is not clipped at ±1.
    """
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128) / 128
    if samples.dtype.kind == "i":
        return samples / np.float32(-float(np.iinfo(samples.dtype).min))
    return samples


def mix(samples: np.ndarray, weights: tuple[float, ...] | None = None) -> np.ndarray:
    """Mix (channels, n) samples to (n,) float32.

    weights: of the channels; their mean by default, and if there are other channels than weights.

    >>> mix(np.array([[0.5, 0.5], [-0.5, 0.0]])), mix(np.array([[0.5], [-0.5]]), (0.5, -0.5))
    (array([0.  , 0.25], dtype=float32), array([0.5], dtype=float32))
    """
    if weights is not None and len(weights) == len(samples):
        mixed = np.einsum("c,cn->n", np.array(weights), samples.astype(np.float64))
    else:
        mixed = samples.mean(axis=0, dtype=np.float64) if len(samples) > 1 else samples[0]
    return np.where(np.abs(mixed) <= _MAX_SAMPLE, mixed, 0).astype(np.float32)


class SoundFile:
    """Float32 samples at 16 kHz in an unnamed temporary file.

    The file disappears when it is closed or the process ends, however it ends.
    """

    def __init__(self) -> None:
        self._file: Any = None  # no file for no sound
        self._lock = threading.Lock()
        self.samples = 0

    def append(self, samples: np.ndarray) -> None:
        """Append (n,) samples. Raises MercError if the disk is full."""
        if not len(samples):
            return
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="merc-sound-")
            self._file.write(np.ascontiguousarray(samples, np.float32).data)
        except OSError as error:
            raise _no_space(error) from error
        self.samples += len(samples)

    def finish(self) -> None:
        """Flush, so that a full disk is noticed here and not by a later read."""
        try:
            if self._file is not None:
                self._file.flush()
        except OSError as error:
            raise _no_space(error) from error

    def read(self, first: int, last: int) -> np.ndarray:
        """Return the samples [first, last) that exist as a new (n,) float32 array."""
        first, last = max(0, first), min(last, self.samples)
        if last <= first:
            return np.zeros(0, np.float32)
        with self._lock:
            self._file.seek(4 * first)
            data = self._file.read(4 * (last - first))
        return np.frombuffer(bytearray(data), np.float32)

    def blocks(self, length: int = _BLOCK) -> Iterator[np.ndarray]:
        """Yield all samples in blocks of `length`; the last one may be shorter."""
        for first in range(0, self.samples, length):
            yield self.read(first, first + length)

    def close(self) -> None:
        """Delete the file."""
        if self._file is not None:
            self._file.close()


class SoundWriter:
    """Write decoded audio frames as contiguous samples whose index is time; gaps become silence.

    sound: None to measure the levels only. zero: timestamp of time 0, in seconds. weights: of the
    channels, see `mix`.

    levels: of the channels. refused: a sample rate outside RATES, whose frames are left out.
    damaged: how many samples are no numbers, or far beyond full scale.
    """

    def __init__(
        self, sound: SoundFile | None, zero: float, weights: tuple[float, ...] | None = None
    ) -> None:
        self._sound, self._zero, self._weights = sound, zero, weights
        self._resampler: Any = None
        self._fallback: Any = None
        self._rate = 0
        self._written = 0.0  # s passed to the resamplers
        self.levels = Levels()
        self.refused: int | None = None
        self.damaged = 0

    @property
    def full(self) -> bool:
        """Whether the sound is as long as it may be; what follows is ignored."""
        return self._written >= LONGEST

    def write(self, frame: Any) -> None:
        """Append one decoded frame; its sample rate may differ from that of the previous one."""
        if not RATES[0] <= frame.sample_rate <= RATES[1]:
            self.refused = frame.sample_rate
            return
        if frame.sample_rate != self._rate:
            self._change_rate(frame.sample_rate)
        parts = self._fallback.resample(frame) if self._fallback is not None else (frame,)
        for part in parts:
            self._write(channels(part), frame.time)

    def close(self) -> None:
        """Write the samples that the resamplers still hold."""
        self._flush()
        self.levels.finish()
        if self._sound is not None:
            self._sound.finish()

    def _write(self, samples: np.ndarray, time: float | None) -> None:
        gap = 0.0 if time is None else time - self._zero - self._written
        rate = self._resampler.rate
        if gap > JITTER or (not self._written and gap > 0):
            for remaining in range(round(min(gap, LONGEST) * rate), 0, -rate):
                self._push(np.zeros(min(rate, remaining), np.float32))
        elif not self._written and gap < 0:
            samples = samples[:, round(-gap * rate) :]
        if self.full:
            return
        if samples.dtype.kind == "f":
            self.damaged += int((~(np.abs(samples) <= _MAX_SAMPLE)).sum())
        self.levels.add(samples, self._written, rate)
        self._push(mix(samples, self._weights))

    def _push(self, samples: np.ndarray) -> None:
        self._written += len(samples) / self._resampler.rate
        if self._sound is not None:
            self._sound.append(self._resampler.push(samples))

    def _change_rate(self, rate: int) -> None:
        self._flush()
        self._rate, self._fallback = rate, None
        try:
            self._resampler = StreamResampler(rate)
        except ValueError:
            # no small ratio to 16 kHz: libswresample interpolates its filter
            import av

            self._fallback = av.AudioResampler(format="fltp", rate=RATE)
            self._resampler = StreamResampler(RATE)

    def _flush(self) -> None:
        if self._fallback is not None:
            for part in self._fallback.resample(None):
                self._push(mix(channels(part), self._weights))
        if self._resampler is not None and self._sound is not None:
            self._sound.append(self._resampler.flush())


def _no_space(error: OSError) -> MercError:
    folder = tempfile.gettempdir()
    return MercError(
        f"no space for the decoded audio in {folder} (230 MB per hour, twice that while channels "
        f"or streams are mixed): {error.strerror}",
        "set TMPDIR to a folder on a larger disk",
    )
