"""Resample sound to 16 kHz as it is decoded."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ["RATE", "StreamResampler"]

RATE = 16_000  # Hz; what Whisper, voice activity detection and openSMILE expect
_BLOCK = 1 << 17  # input samples resampled at once: 3 s at 44.1 kHz
_OUTPUT_BLOCK = 1 << 18  # samples that a block may become: less input at once below 8 kHz
_MAX_KERNEL = 1 << 22  # floats; a prime rate such as 44,101 Hz would need gigabytes


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
        block = min(_BLOCK, _OUTPUT_BLOCK * self._orig // self._new)
        self._block = self._orig * max(1, block // self._orig)
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
