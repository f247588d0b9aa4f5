"""The sound of an utterance: checked, cut and resampled before features are computed from it."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.core.errors import MercError
from pipeline.core.sinc import resample

__all__ = ["MAX_DURATION", "RATE", "describe_sound", "is_silent", "prepare_sound"]

RATE = 16000  # Hz; openSMILE accepts other rates, but they change its values by 8-17 %
MIN_DURATION = 0.1  # s; below 0.07 openSMILE returns NaN, up to 0.1 finite but meaningless values
MAX_DURATION = 60.0  # s; takes openSMILE 335 MB of memory, which grows with the length
SILENCE = 1e-4  # root mean square, -80 dB of full scale: below the noise floor of any microphone
MAX_SAMPLE = 32767 / 32768  # +1.0 would wrap to -1.0 in openSMILE's 16-bit conversion


def prepare_sound(waveform: np.ndarray, rate: int) -> np.ndarray:
    """Check a sound, cut it to one minute and resample it: (n,) float32 at 16 kHz.

    Raises MercError as `AudioExtractor.extract` does.
    """
    signal = np.asarray(waveform)
    if signal.ndim != 1:
        raise MercError(
            f"sound has shape {signal.shape}, expected one channel, (n,)",
            "average the channels first",
        )
    if signal.dtype.kind != "f":
        raise MercError(
            f"sound has type {signal.dtype}, expected floats in [-1, 1]",
            "divide int16 by 32768",
        )
    if not 4000 <= rate <= 384000:
        raise MercError(
            f"sampling rate {rate} Hz is out of range",
            "pass the samples per second, 4000 to 384000",
        )
    if len(signal) < MIN_DURATION * rate:
        raise MercError(
            f"{1000 * len(signal) / rate:.0f} ms of sound: a feature needs at least 100 ms",
            "treat the feature as missing",
        )
    # astype copies: the caller's array is not changed
    signal = signal[: round(MAX_DURATION * rate)].astype(np.float32)
    if not np.isfinite(signal).all():
        raise MercError("sound has NaN or infinite samples", "decode it again")
    if rate != RATE:
        signal = resample(signal, int(rate), RATE)
    return np.clip(signal, -1.0, MAX_SAMPLE)


def describe_sound(waveform: np.ndarray, rate: int) -> dict[str, Any]:
    """Describe the sound of an utterance: duration, duration used, whether cut or silent."""
    seconds = len(waveform) / rate
    return {
        "seconds": round(seconds, 3),
        "used_seconds": round(min(seconds, MAX_DURATION), 3),
        "cut": seconds > MAX_DURATION,
        "silent": is_silent(waveform),
    }


def is_silent(waveform: np.ndarray) -> bool:
    """Return whether the root mean square is below -80 dB of full scale.

    >>> is_silent(np.zeros(16000)), is_silent(np.full(16000, 0.01)), is_silent(np.zeros(0))
    (True, False, True)
    """
    signal = np.asarray(waveform, dtype=np.float32)
    return not signal.size or float(np.sqrt(np.mean(np.square(signal), dtype=np.float64))) < SILENCE
