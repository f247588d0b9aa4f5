"""The audio of a recording as 16 kHz mono samples in a temporary file.

Samples are streamed in and read back by time, so memory does not grow with the recording.
"""

from __future__ import annotations

import math
import tempfile
import threading
from typing import Any

import numpy as np

from pipeline.core.errors import MercError

__all__ = ["RATE", "SoundFile", "SoundWriter", "StreamResampler", "mono"]

RATE = 16_000  # Hz; what Whisper, voice activity detection and openSMILE expect
_BLOCK = 1 << 17  # input samples resampled at once: 3 s at 44.1 kHz
_MAX_KERNEL = 1 << 22  # floats; a prime rate such as 44,101 Hz would need gigabytes
_MAX_GAP = 3600.0  # s; a longer gap between timestamps is a damaged clock
_JITTER = 0.05  # s; timestamps may be off by this much
_MAX_SAMPLE = 64  # full scale is 1; damaged floats reach 1e38


def mono(frame: Any) -> np.ndarray:
    """Convert a decoded PyAV audio frame to (n,) float32: the mean of its channels, full scale ±1.

    Floating-point audio is not clipped at ±1.
    """
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    if samples.dtype == np.uint8:
        samples = (samples.astype(np.float32) - 128) / 128
    elif samples.dtype.kind == "i":
        samples = samples / np.float32(-float(np.iinfo(samples.dtype).min))
    mixed = samples.mean(axis=0, dtype=np.float64) if len(samples) > 1 else samples[0]
    finite = np.nan_to_num(mixed, posinf=0, neginf=0)
    return np.clip(finite, -_MAX_SAMPLE, _MAX_SAMPLE).astype(np.float32)


class StreamResampler:
    """Resample a stream to 16 kHz block by block.

    The result equals `torchaudio.functional.resample` of the whole, up to float rounding: each
    block is a multiple of the reduced input rate and overlaps its neighbours by the length of the
    filter.

    Raises ValueError if the ratio of the two rates has no small terms.
    """

    def __init__(self, rate: int) -> None:
        divisor = math.gcd(rate, RATE)
        self.rate, self._orig, self._new = rate, rate // divisor, RATE // divisor
        # torchaudio's filter has 6 zero crossings and a roll-off of .99
        width = math.ceil(6 * self._orig / (min(self._orig, self._new) * 0.99))
        if self._new * (2 * width + self._orig) > _MAX_KERNEL:
            raise ValueError(f"{rate} Hz and {RATE} Hz have no small ratio")
        self._context = self._orig * math.ceil((width + self._orig) / self._orig)
        self._block = self._orig * max(1, _BLOCK // self._orig)
        self._kernel: Any = None
        self._parts = [np.zeros(self._context, np.float32)]
        self._buffered = self._context

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Take (n,) samples at the input rate; return the samples that are ready at 16 kHz."""
        if self._orig == self._new:
            return samples
        self._parts.append(samples)
        self._buffered += len(samples)
        window = self._block + 2 * self._context
        if self._buffered < window:
            return np.zeros(0, np.float32)
        buffer, ready = np.concatenate(self._parts), []
        while len(buffer) >= window:
            ready.append(self._convert(buffer[:window], self._block))
            buffer = buffer[self._block :]
        self._parts, self._buffered = [buffer], len(buffer)
        return np.concatenate(ready)

    def flush(self) -> np.ndarray:
        """Return the remaining samples; the total is then ceil(n · 16000 / rate)."""
        if self._orig == self._new or self._buffered <= self._context:
            return np.zeros(0, np.float32)
        remaining = self._buffered - self._context
        buffer = np.concatenate([*self._parts, np.zeros(self._context + self._orig, np.float32)])
        self._parts, self._buffered = [np.zeros(self._context, np.float32)], self._context
        return self._convert(buffer, remaining)

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
    """Float32 samples at 16 kHz in an unnamed temporary file.

    The file disappears when it is closed or the process ends, however it ends.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="merc-sound-")
        self._lock = threading.Lock()
        self.samples = 0

    def append(self, samples: np.ndarray) -> None:
        """Append (n,) samples. Raises MercError if the disk is full."""
        if not len(samples):
            return
        try:
            self._file.write(np.ascontiguousarray(samples, np.float32).data)
        except OSError as error:
            raise _no_space(error) from error
        self.samples += len(samples)

    def finish(self) -> None:
        """Flush, so that a full disk is noticed here and not by a later read."""
        try:
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

    def close(self) -> None:
        """Delete the file."""
        self._file.close()


class SoundWriter:
    """Write decoded audio frames as contiguous samples whose index is time; gaps become silence.

    zero: timestamp of time 0, in seconds.
    warnings: texts about damaged timestamps.
    """

    def __init__(self, sound: SoundFile, zero: float) -> None:
        self._sound, self._zero = sound, zero
        self._resampler: Any = None
        self._fallback: Any = None
        self._rate = 0
        self._written = 0.0  # s passed to the resamplers
        self.warnings: list[str] = []

    def write(self, frame: Any) -> None:
        """Append one decoded frame; its sample rate may differ from that of the previous one."""
        if frame.sample_rate != self._rate:
            self._change_rate(frame.sample_rate)
        parts = self._fallback.resample(frame) if self._fallback is not None else (frame,)
        for part in parts:
            self._write(mono(part), frame.time)

    def close(self) -> None:
        """Write the samples that the resamplers still hold."""
        self._flush()
        self._sound.finish()

    def _write(self, samples: np.ndarray, time: float | None) -> None:
        gap = 0.0 if time is None else time - self._zero - self._written
        rate = self._resampler.rate
        if abs(gap) > _MAX_GAP:
            text = "its audio timestamps jump by more than an hour; ignoring the jump"
            if text not in self.warnings:
                self.warnings.append(text)
        elif gap > _JITTER or (not self._written and gap > 0):
            for remaining in range(round(gap * rate), 0, -rate):
                self._push(np.zeros(min(rate, remaining), np.float32))
        elif not self._written and gap < 0:
            samples = samples[round(-gap * rate) :]
        self._push(samples)

    def _push(self, samples: np.ndarray) -> None:
        self._written += len(samples) / self._resampler.rate
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
                self._push(mono(part))
        if self._resampler is not None:
            self._sound.append(self._resampler.flush())


def _no_space(error: OSError) -> MercError:
    folder = tempfile.gettempdir()
    return MercError(
        f"no space for the decoded audio in {folder} (230 MB per hour): {error.strerror}",
        "set TMPDIR to a folder on a larger disk",
    )
