"""Mel energies of speech, as Kaldi computes them (torchaudio.compliance.kaldi.fbank, BSD-2)."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from pipeline.core.errors import MercError

__all__ = ["kaldi_mels"]

_RATE, _BANDS = 16_000, 80
_WINDOW, _HOP, _FFT = 400, 160, 512  # samples: 25 ms, 10 ms, the next power of two
_LOWEST = 20.0  # Hz
_PREEMPHASIS = 0.97
_FULL_SCALE = 32768  # Kaldi's samples are 16-bit integers; its floor of energies goes by them
_FLOOR = np.finfo(np.float32).eps
_BLOCK = 12  # frames at once; larger matrix products are multithreaded, which takes longer


def kaldi_mels(samples: np.ndarray) -> np.ndarray:
    """Return logarithmic mel energies, (1 + (n - 400) // 160, 80) float32.

    samples: (n,) floats in [-1, 1] at 16 kHz. There is a frame of 25 ms every 10 ms. Its mean is
    removed, it is pre-emphasised and weighted by Povey's window, and its power spectrum is summed
    by triangular filters of equal width in mel, from 20 Hz to 8 kHz. There is no dither.

    Raises MercError for a sound under 25 ms.

    >>> kaldi_mels(np.zeros(560, np.float32)).shape
    (2, 80)
    """
    if len(samples) < _WINDOW:
        raise MercError(f"sound has {len(samples)} samples at 16 kHz", f"pass at least {_WINDOW}")
    frames = sliding_window_view(samples, _WINDOW)[::_HOP]
    mels = np.empty((len(frames), _BANDS), np.float32)
    for first in range(0, len(frames), _BLOCK):
        block = _FULL_SCALE * frames[first : first + _BLOCK].astype(np.float64)
        block -= block.mean(1, keepdims=True)
        # the sample before the first is taken to equal it
        before = np.concatenate([block[:, :1], block[:, :-1]], 1)
        spectrum = np.fft.rfft((block - _PREEMPHASIS * before) * _window(), _FFT)[:, :-1]
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        mels[first : first + _BLOCK] = np.log(np.maximum(power @ _filters(), _FLOOR))
    return mels


@cache
def _window() -> np.ndarray:
    return np.hanning(_WINDOW) ** 0.85


@cache
def _filters() -> np.ndarray:
    """Return the weights of the powers below 8 kHz in each band, (256, 80)."""
    lowest, highest = _mel(np.array([_LOWEST, _RATE / 2]))
    frequencies = _mel(np.arange(_FFT // 2) * (_RATE / _FFT))[:, None]
    edges = lowest + np.arange(_BANDS + 2) * ((highest - lowest) / (_BANDS + 1))
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising = (frequencies - left) / (centre - left)
    falling = (right - frequencies) / (right - centre)
    return np.maximum(0, np.minimum(rising, falling))


def _mel(frequency: np.ndarray) -> np.ndarray:
    return 1127 * np.log1p(frequency / 700)
