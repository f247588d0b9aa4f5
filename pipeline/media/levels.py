"""How loud the channels of an audio stream are through time, and how they relate."""

from __future__ import annotations

import numpy as np

__all__ = ["BIN", "Levels", "decibels"]

BIN = 0.05  # s over which power is averaged
_BLOCK = 1.0  # s measured at once
_LIMIT = 64.0  # damaged floats reach 1e38


class Levels:
    """The power of each channel, and of the mean of all, in bins of 50 ms.

    Power is that around the mean of each piece, so a constant offset has none. If the number of
    channels changes, only the part before that is measured.

    channels: their number, 0 before the first samples. covariance: (c, c), summed over all samples.

    >>> levels = Levels()
    >>> noise = np.random.default_rng(0).standard_normal(16_000)
    >>> levels.add(np.stack([noise, 0 * noise]), 0.0, 16_000)
    >>> levels.finish()
    >>> levels.power(0.2, 0.8).round(1)
    array([1., 0.])
    """

    def __init__(self) -> None:
        self.channels = 0
        self.covariance = np.zeros((0, 0))
        self._sums = np.zeros((0, 1))  # (bins, channels + 1) squares; the last column: their mean
        self._counts = np.zeros(0)
        self._parts: list[np.ndarray] = []
        self._start, self._length, self._rate = 0, 0, 1  # of the parts, in samples

    def add(self, samples: np.ndarray, start: float, rate: int) -> None:
        """Add (channels, n) samples that begin at `start` seconds."""
        if not self.channels:
            self.channels = len(samples)
            self.covariance = np.zeros((self.channels, self.channels))
            self._sums = np.zeros((0, self.channels + 1))
        if len(samples) != self.channels or not samples.shape[1]:
            return
        first = round(start * rate)
        if rate != self._rate or abs(first - self._start - self._length) > 1:
            self.finish()
        if not self._parts:
            self._start, self._rate = first, rate
        self._parts.append(samples)
        self._length += samples.shape[1]
        if self._length >= _BLOCK * rate:
            self.finish()

    def finish(self) -> None:
        """Measure the samples that are waiting for more."""
        if not self._parts:
            return
        samples = np.nan_to_num(np.concatenate(self._parts, axis=1).astype(np.float64))
        samples = np.clip(samples, -_LIMIT, _LIMIT)
        width, length = BIN * self._rate, samples.shape[1]  # no whole number at 11,025 Hz
        first, last = int(self._start / width), int((self._start + length - 1) / width)
        inner = np.ceil(np.arange(first + 1, last + 1) * width).astype(int) - self._start
        edges = np.concatenate([[0], inner[(inner > 0) & (inner < length)]])
        counts = np.diff([*edges, length])
        means = np.add.reduceat(samples, edges, axis=1) / counts
        samples = samples - np.repeat(means, counts, axis=1)
        rows = np.concatenate([samples, samples.mean(0, keepdims=True)])
        self._reserve(first + len(edges))
        self._sums[first : first + len(edges)] += np.add.reduceat(rows**2, edges, axis=1).T
        self._counts[first : first + len(edges)] += counts
        self.covariance += samples @ samples.T
        self._start, self._length, self._parts = self._start + length, 0, []

    def power(self, start: float, end: float) -> np.ndarray:
        """Return the mean power of each channel between two times (seconds), (c,)."""
        bins = slice(max(0, round(start / BIN)), max(1, round(end / BIN)))
        total = self._counts[bins].sum()
        return self._sums[bins, :-1].sum(0) / max(total, 1)

    def bins(self) -> np.ndarray:
        """Return the power of each channel and of their mean in each bin with sound, (n, c + 1)."""
        heard = self._counts > 0
        return self._sums[heard] / self._counts[heard, None]

    def loudest(self) -> np.ndarray:
        """Return the power of each channel where it is loud: the upper percentile of its bins."""
        bins = self.bins()[:, :-1]
        return np.quantile(bins, 0.99, axis=0) if len(bins) else np.zeros(self.channels)

    def cancelled(self) -> float:
        """Return in which share of the loud bins the channels cancel in their mean.

        There the mean has less than a quarter of the power that independent channels would give.
        """
        bins = self.bins()
        if self.channels < 2 or not len(bins):
            return 0.0
        powers, mean = bins[:, :-1], bins[:, -1]
        loud = powers.max(1) > max(1e-6, 0.01 * np.quantile(powers.max(1), 0.95))
        independent = powers.sum(1) / self.channels**2
        return float((mean < 0.25 * independent)[loud].mean()) if loud.any() else 0.0

    def _reserve(self, bins: int) -> None:
        if bins > len(self._counts):
            more = max(bins, 2 * len(self._counts)) - len(self._counts)
            self._sums = np.concatenate([self._sums, np.zeros((more, self._sums.shape[1]))])
            self._counts = np.concatenate([self._counts, np.zeros(more)])


def decibels(power: float) -> float:
    """Convert power to decibels; full scale is 0.

    >>> decibels(0.001)
    -30.0
    """
    return float(round(10 * np.log10(max(power, 1e-20)), 6))
