"""Resample sound to 16 kHz as it is decoded."""

from __future__ import annotations

import math

import numpy as np

from pipeline.core.sinc import SincFilter

__all__ = ["RATE", "StreamResampler"]

RATE = 16_000  # Hz; what Whisper, voice activity detection and openSMILE expect
_BLOCK = 1 << 17  # input samples resampled at once: 3 s at 44.1 kHz
_OUTPUT_BLOCK = 1 << 18  # samples that a block may become: less input at once below 8 kHz
_MAX_KERNEL = 1 << 22  # floats; a prime rate such as 44,101 Hz needs blocks and filters of seconds


class StreamResampler:
    """Resample a stream to 16 kHz block by block.

    The result equals `pipeline.core.sinc.resample` of the whole, up to float rounding: each block
    is a multiple of the filter's period and overlaps its neighbours by the filter's width.

    Raises ValueError if the ratio of the two rates has no small terms.
    """

    def __init__(self, rate: int) -> None:
        self.rate = rate
        divisor = math.gcd(rate, RATE)
        orig, new = rate // divisor, RATE // divisor
        self._filter = SincFilter(rate, RATE)
        self._width = self._filter.width
        if max(new * (2 * self._width + orig), self._filter.size) > _MAX_KERNEL:
            raise ValueError(f"{rate} Hz and {RATE} Hz have no small ratio")
        period = self._filter.period
        block = min(_BLOCK, _OUTPUT_BLOCK * orig // new)
        self._block = period * max(1, block // period)
        self._parts = [np.zeros(self._width, np.float32)]
        self._buffered = self._width

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Take (n,) samples at the input rate; return the samples that are ready at 16 kHz."""
        if self.rate == RATE:
            return samples
        self._parts.append(samples)
        self._buffered += len(samples)
        window = self._block + 2 * self._width
        if self._buffered < window:
            return np.zeros(0, np.float32)
        buffer, ready = np.concatenate(self._parts), []
        while len(buffer) >= window:
            ready.append(self._filter(buffer[:window], self._block))
            buffer = buffer[self._block :]
        self._parts, self._buffered = [buffer], len(buffer)
        return np.concatenate(ready)

    def flush(self) -> np.ndarray:
        """Return the remaining samples; the total is then ceil(n · 16000 / rate)."""
        if self.rate == RATE or self._buffered <= self._width:
            return np.zeros(0, np.float32)
        remaining, buffer = self._buffered - self._width, np.concatenate(self._parts)
        self._parts, self._buffered = [np.zeros(self._width, np.float32)], self._width
        return self._filter(buffer, remaining)
