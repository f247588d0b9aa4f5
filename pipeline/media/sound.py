"""Sound of a medium as 16 kHz mono on disk: streamed in, read back by time, never held whole in memory."""

from __future__ import annotations

import math
import tempfile
import threading
from typing import Any

import numpy as np

__all__ = ["RATE", "SoundFile", "SoundWriter", "StreamResampler", "mono", "warn_once"]

RATE = 16_000  # Hz; what recognition, voice activity and openSMILE expect
_BLOCK = 1 << 17  # samples of input resampled at once: 3 s at 44.1 kHz
_MAX_KERNEL = 1 << 22  # floats; a prime rate such as 44,101 Hz would need a kernel of gigabytes
_MAX_GAP = 3600.0  # s of silence put in for a gap in the sound; a longer jump is a damaged clock
_JITTER = 0.05  # s a timestamp may be off before the sound is moved


def mono(frame: Any) -> np.ndarray:
    """A decoded PyAV audio frame as (n,) float32: the mean of its channels, full scale ±1 (floats are not clipped)."""
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    if samples.dtype == np.uint8:
        samples = (samples.astype(np.float32) - 128) / 128
    elif samples.dtype.kind == "i":
        samples = samples / np.float32(-float(np.iinfo(samples.dtype).min))
    mixed = samples.mean(axis=0, dtype=np.float64) if len(samples) > 1 else samples[0]
    return np.clip(np.nan_to_num(mixed, posinf=0, neginf=0), -64, 64).astype(
        np.float32
    )  # a damaged float can be 1e38


class StreamResampler:
    """`torchaudio.functional.resample` to 16 kHz, in blocks: equal to resampling the whole (to float rounding).

    Each block is a multiple of the reduced input rate and sees as much of its neighbours as the filter is long.
    """

    def __init__(self, rate: int) -> None:
        divisor = math.gcd(rate, RATE)
        self.rate, self._orig, self._new = rate, rate // divisor, RATE // divisor
        width = math.ceil(
            6 * self._orig / (min(self._orig, self._new) * 0.99)
        )  # torchaudio: 6 zero crossings
        if self._new * (2 * width + self._orig) > _MAX_KERNEL:
            raise ValueError(f"no small ratio between {rate} Hz and {RATE} Hz")
        self._context = self._orig * math.ceil((width + self._orig) / self._orig)
        self._block = self._orig * max(1, _BLOCK // self._orig)
        self._kernel: Any = None
        self._parts = [np.zeros(self._context, np.float32)]
        self._held = self._context

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Take (n,) samples at the input rate, give what is ready at 16 kHz."""
        if self._orig == self._new:
            return samples
        self._parts.append(samples)
        self._held += len(samples)
        if self._held < self._block + 2 * self._context:
            return np.zeros(0, np.float32)
        buffer, ready = np.concatenate(self._parts), []
        while len(buffer) >= self._block + 2 * self._context:
            ready.append(self._convert(buffer[: self._block + 2 * self._context], self._block))
            buffer = buffer[self._block :]
        self._parts, self._held = [buffer], len(buffer)
        return np.concatenate(ready)

    def flush(self) -> np.ndarray:
        """The rest; ceil(n · 16000 / rate) samples have come out in all."""
        if self._orig == self._new or self._held <= self._context:
            return np.zeros(0, np.float32)
        left = self._held - self._context
        buffer = np.concatenate([*self._parts, np.zeros(self._context + self._orig, np.float32)])
        self._parts, self._held = [np.zeros(self._context, np.float32)], self._context
        return self._convert(buffer, left)

    def _convert(self, window: np.ndarray, inner: int) -> np.ndarray:
        import torch
        from torchaudio.transforms import Resample

        if self._kernel is None:
            self._kernel = Resample(self._orig, self._new)
        with torch.inference_mode():
            out = self._kernel(torch.from_numpy(np.ascontiguousarray(window))).numpy()
        first = self._context // self._orig * self._new
        return out[first : first + math.ceil(inner * self._new / self._orig)]


class SoundFile:
    """(n,) float32 samples at 16 kHz in a nameless temporary file, gone when this is closed or the process dies."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="merc-sound-")
        self._lock = threading.Lock()
        self.samples = 0

    def append(self, samples: np.ndarray) -> None:
        if not len(samples):
            return
        try:
            self._file.write(np.ascontiguousarray(samples, np.float32).data)
        except OSError as error:
            raise OSError(
                error.errno,
                f"no room for the decoded sound in {tempfile.gettempdir()} (230 MB for an "
                f"hour): {error.strerror}; name a roomier folder in TMPDIR",
            ) from error
        self.samples += len(samples)

    def finish(self) -> None:
        """Flush buffered samples, so that a full disk shows here and not in a later read."""
        self.append(np.zeros(0, np.float32))
        try:
            self._file.flush()
        except OSError as error:
            raise OSError(
                error.errno,
                f"no room for the decoded sound in {tempfile.gettempdir()}: {error.strerror}; "
                f"name a roomier folder in TMPDIR",
            ) from error

    def read(self, first: int, last: int) -> np.ndarray:
        """Samples [first, last) that exist, as a fresh (n,) float32 array."""
        first, last = max(0, first), min(last, self.samples)
        if last <= first:
            return np.zeros(0, np.float32)
        with self._lock:
            self._file.seek(4 * first)
            data = self._file.read(4 * (last - first))
        return np.frombuffer(bytearray(data), np.float32)

    def close(self) -> None:
        self._file.close()


class SoundWriter:
    """Decoded audio frames → contiguous 16 kHz samples whose index is time: gaps become silence."""

    def __init__(self, sound: SoundFile, zero: float) -> None:
        self._sound, self._zero = sound, zero
        self._resampler: Any = None
        self._fallback: Any = None
        self._rate = 0
        self._written = 0.0  # s given to the resamplers
        self.warnings: list[str] = []

    def write(self, frame: Any) -> None:
        if frame.sample_rate != self._rate:
            self._change_rate(frame.sample_rate)
        for part in self._fallback.resample(frame) if self._fallback is not None else (frame,):
            self._write(mono(part), frame.time)

    def _write(self, samples: np.ndarray, time: float | None) -> None:
        gap = 0.0 if time is None else time - self._zero - self._written
        rate = self._resampler.rate
        if abs(gap) > _MAX_GAP:
            warn_once(
                self.warnings, "its sound track jumps by more than an hour; the jump is left out"
            )
        elif gap > _JITTER or (not self._written and gap > 0):
            for left in range(round(gap * rate), 0, -rate):
                self._push(np.zeros(min(rate, left), np.float32))
        elif not self._written and gap < 0:
            samples = samples[round(-gap * rate) :]
        self._push(samples)

    def _push(self, samples: np.ndarray) -> None:
        self._written += len(samples) / self._resampler.rate
        self._sound.append(self._resampler.push(samples))

    def _change_rate(self, rate: int) -> None:
        self._finish()
        self._rate, self._fallback = rate, None
        try:
            self._resampler = StreamResampler(rate)
        except (
            ValueError
        ):  # a rate without a small ratio to 16 kHz: libswresample interpolates its filter
            import av

            self._fallback = av.AudioResampler(format="fltp", rate=RATE)
            self._resampler = StreamResampler(RATE)

    def _finish(self) -> None:
        if self._fallback is not None:
            for part in self._fallback.resample(None):
                self._push(mono(part))
        if self._resampler is not None:
            self._sound.append(self._resampler.flush())

    def close(self) -> None:
        self._finish()
        self._sound.finish()


def warn_once(warnings: list[str], text: str) -> None:
    if text not in warnings:
        warnings.append(text)
