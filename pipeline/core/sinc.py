"""Resample a signal with a windowed sinc filter.

The filter is torchaudio's default (`torchaudio.transforms.Resample`, BSD-2): a sinc with 6 zero
crossings on each side, cut off at 99 % of the lower Nyquist frequency and tapered by a Hann window
(J. O. Smith, "Digital Audio Resampling", https://ccrma.stanford.edu/~jos/resample). Output j lies
at input j · orig / new, where orig and new are the rates over their greatest common divisor, so the
weights repeat every `new` outputs and `orig` inputs.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

__all__ = ["SincFilter", "resample"]

_CROSSINGS = 6
_ROLLOFF = 0.99
_GROUP = 16  # outputs computed by one matrix product
# multiplications in one product: OpenBLAS computes up to 2**18 in one thread, so that the number of
# threads changes no bits
_PRODUCT = 1 << 18


class SincFilter:
    """Resample pieces of a signal from one rate to another.

    An output depends on few inputs: of the weights of a period, a matrix (new, orig + 2 · width),
    only a band is not zero. It is stored as small matrices, one per 16 outputs, and each is applied
    to all periods at once.

    period: input samples after which the matrices repeat; a piece starts at a multiple of it.
    width: input samples needed before the first and after the last sample of a piece.
    size: upper bound of the numbers in one matrix.
    """

    def __init__(self, rate: int, new_rate: int) -> None:
        divisor = math.gcd(rate, new_rate)
        self._orig, self._new = rate // divisor, new_rate // divisor
        self._step = _ROLLOFF / max(self._orig, self._new)
        self._span = _CROSSINGS / (self._step * self._new)
        self.width = math.ceil(self._span)
        # whole groups, and no window longer than a period: BLAS reads such windows without a copy
        window = math.ceil(_GROUP * self._orig / self._new) + 2 * self.width
        whole = _GROUP // math.gcd(_GROUP, self._new)
        repeats = whole * math.ceil(window / (self._orig * whole))
        self.period, self._new_period = repeats * self._orig, repeats * self._new
        self.size = window * _GROUP
        self._matrices: dict[int, np.ndarray] = {}

    def outputs(self, inputs: int) -> int:
        """Return how many samples so many input samples become."""
        return -(-inputs * self._new // self._orig)

    def __call__(self, samples: np.ndarray, inputs: int) -> np.ndarray:
        """Return the (outputs(inputs),) float32 samples of a piece.

        samples: (n,) float32; the piece is samples[width : width + inputs]. Zeros follow the last
        sample.
        """
        count = self.outputs(inputs)
        # BLAS computes the product of a single row in another way, which may depend on the threads
        rows = max(2, -(-count // self._new_period))
        needed = rows * self.period + 2 * self.width
        if len(samples) < needed:
            samples = np.concatenate([samples, np.zeros(needed - len(samples), np.float32)])
        result = np.empty((rows, self._new_period), np.float32)
        for first in range(0, min(count, self._new_period), _GROUP):
            start, matrix = self._weights(first)
            windows = sliding_window_view(samples, len(matrix))[start :: self.period]
            columns = slice(first, first + _GROUP)
            size = max(2, _PRODUCT // matrix.size - 1)
            for row in range(0, rows - 1, size):
                end = rows if row + size + 1 >= rows else row + size
                np.matmul(windows[row:end], matrix, out=result[row:end, columns])
        return result.ravel()[:count]

    def _weights(self, first: int) -> tuple[int, np.ndarray]:
        """Return the weights (window, 16) of outputs first to first + 15, and the window's start.

        The start counts from `width` samples before the period.
        """
        phase = first * self._orig % self._new
        # input i is (i · new - phase - j · orig) · step zero crossings from output j of the group
        lowest = math.ceil(phase / self._new - self._span)
        if phase not in self._matrices:
            last = phase + (_GROUP - 1) * self._orig
            highest = math.floor(last / self._new + self._span)
            inputs = np.arange(lowest, highest + 1)[:, None] * self._new
            outputs = phase + np.arange(_GROUP) * self._orig
            share = (first + np.arange(_GROUP)) % self._new / self._new
            # torchaudio rounds it, which changes a sample by 5e-6 at 44.1 kHz: enough to change
            # what is recognised, and features
            rounding = (share.astype(np.float32) - share) * (self._step * self._orig * self._new)
            time = (inputs - outputs) * self._step - rounding
            time = np.clip(time, -_CROSSINGS, _CROSSINGS)
            taper = np.square(np.cos(time * (math.pi / 2 / _CROSSINGS)))
            weights = np.sinc(time) * taper * (self._step * self._new)
            self._matrices[phase] = weights.astype(np.float32)
        return self.width + first * self._orig // self._new + lowest, self._matrices[phase]


def resample(signal: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Resample a signal (n,) float32 to ceil(n · new_rate / rate) samples, float32.

    It equals `torchaudio.transforms.Resample` up to float rounding.

    >>> resample(np.ones(6, np.float32), 16000, 16000).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    >>> resample(np.ones(48000, np.float32), 48000, 16000).shape
    (16000,)
    """
    if rate == new_rate:
        return signal.astype(np.float32)
    sinc = SincFilter(rate, new_rate)
    before = np.zeros(sinc.width, np.float32)
    return sinc(np.concatenate([before, signal], dtype=np.float32), len(signal))
