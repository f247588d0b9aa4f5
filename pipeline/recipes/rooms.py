"""Simulated rooms: how speech sounds from a distance.

A speaker's place is an exponentially decaying noise impulse response, a level, and the loss of high
frequencies that comes with distance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import butter, fftconvolve, sosfilt

from pipeline.media.decode import RATE

__all__ = ["CONDITIONS", "Condition", "Place", "coloured_noise"]


@dataclass(frozen=True)
class Condition:
    """How a conversation is recorded. Levels in dB relative to full scale or to near speech."""

    name: str
    distances: tuple[float, float] = (0.0, 0.0)  # dB that each speaker is quieter, at most
    reverberation: float = 0.0  # s until the room has decayed by 60 dB
    noise: float = -70.0  # dB of full scale
    level: float = -23.0  # dB of full scale of the nearest speech


CONDITIONS = (
    Condition("near"),
    Condition("room", (0, 12), 0.4, -55),
    Condition("far", (10, 22), 0.6, -58),
    Condition("quiet", (0, 8), 0.3, -70, -45),
)


@dataclass(frozen=True)
class Place:
    """Where a speaker sits: impulse response of the room, gain, and low-pass in Hz."""

    response: np.ndarray
    gain: float
    cutoff: float

    @classmethod
    def draw(cls, condition: Condition, rng: np.random.Generator) -> Place:
        """Draw a place at random."""
        distance = float(rng.uniform(*condition.distances))
        response = np.ones(1)
        if condition.reverberation:
            times = np.arange(round(condition.reverberation * RATE)) / RATE
            tail = rng.standard_normal(len(times)) * 10 ** (-3 * times / condition.reverberation)
            tail *= 10 ** ((distance - 15) / 20) / np.linalg.norm(tail)  # direct sound over tail
            tail[0] = 1.0
            response = tail / np.linalg.norm(tail)
        gain = 10 ** ((condition.level - distance) / 20)
        return cls(response, gain, 7000 - 200 * distance)

    def hear(self, clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return a clip (n,) as it sounds from here, at a level that varies by 4 dB."""
        loud = np.sqrt(np.square(clip).mean()) + 1e-9
        mood = 10 ** (rng.uniform(-4, 4) / 20)
        sound = fftconvolve(clip / loud, self.response) * self.gain * mood
        return sosfilt(butter(2, self.cutoff, fs=RATE, output="sos"), sound)


def coloured_noise(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return noise of power 1 that falls with frequency, as that of rooms."""
    noise = sosfilt(butter(1, 500, fs=RATE, output="sos"), rng.standard_normal(count))
    return noise / np.sqrt(np.square(noise).mean())
