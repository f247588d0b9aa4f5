"""Distortions depend on the seed alone, have the given strength, and accept silence."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.core.errors import MercError
from pipeline.recipes.distort import (
    CODECS,
    add_noise,
    band_limit,
    distort,
    encode,
    gain,
    reverberate,
    tilt,
)

RATE = 16_000


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    """Make 1.5 s of a modulated buzz, with a spectrum like that of a voice."""
    time = np.arange(int(1.5 * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(120 + 20 * np.sin(2 * np.pi * 2 * time)) / RATE
    tones = sum(np.sin(k * phase) / k for k in range(1, 30))
    return (0.2 * tones * (0.55 + 0.45 * np.sin(2 * np.pi * 4 * time))).astype(np.float32)


def power(waveform: np.ndarray) -> float:
    return float(np.mean(np.square(waveform, dtype=np.float64)))


def test_the_seed_determines_the_distortion(voice: np.ndarray):
    assert np.array_equal(distort(voice, RATE, 7), distort(voice, RATE, 7))
    distorted = [distort(voice, RATE, seed) for seed in range(20)]
    assert len({sound.tobytes() for sound in distorted}) == 20
    for sound in distorted:
        assert sound.dtype == np.float32 and np.isfinite(sound).all()
        assert np.abs(sound).max() <= 1.5
        assert len(voice) - 0.3 * RATE <= len(sound) <= len(voice) + RATE


def test_short_and_silent_sound_survive():
    for seed in range(10):
        assert np.isfinite(distort(np.zeros(RATE // 2, np.float32), RATE, seed)).all()
        assert len(distort(np.full(1600, 0.1, np.float32), RATE, seed)) >= 1600


@pytest.mark.parametrize("snr", [0.0, 15.0, 30.0])
@pytest.mark.parametrize("slope", [0.0, 1.0, 2.0])
def test_noise_has_the_given_level(voice: np.ndarray, snr: float, slope: float):
    noise = add_noise(voice, RATE, snr, slope, np.random.default_rng(0)) - voice
    assert 10 * np.log10(power(voice) / power(noise)) == pytest.approx(snr, abs=0.1)


def test_noise_has_the_given_colour(voice: np.ndarray):
    def share_below_1000(slope: float) -> float:
        noise = add_noise(voice, RATE, 0.0, slope, np.random.default_rng(0)) - voice
        energy = np.abs(np.fft.rfft(noise)) ** 2
        return energy[np.fft.rfftfreq(len(noise), 1 / RATE) < 1000].sum() / energy.sum()

    white, pink, brown = (share_below_1000(slope) for slope in (0.0, 1.0, 2.0))
    assert white == pytest.approx(1 / 8, abs=0.03) and white < pink < brown
    noise = add_noise(voice, RATE, 0.0, 2.0, np.random.default_rng(0)) - voice
    energy = np.abs(np.fft.rfft(noise)) ** 2
    assert energy[: int(50 * len(voice) / RATE)].sum() < 1e-6 * energy.sum()  # none below 50 Hz


def test_gain_and_clipping(voice: np.ndarray):
    assert np.allclose(gain(voice, -12), voice * 10 ** (-12 / 20), atol=1e-6)
    assert np.abs(gain(voice, 40)).max() <= 1


def test_rooms_and_equalisers_keep_the_level(voice: np.ndarray):
    room = reverberate(voice, RATE, 0.5, 0.0, np.random.default_rng(0))
    for changed in (room, tilt(voice, RATE, 9.0)):
        assert power(changed) == pytest.approx(power(voice), rel=0.01)
        assert len(changed) == len(voice)
    bright, dark = (power(band_limit(tilt(voice, RATE, d), RATE, 2000, 6000)) for d in (9.0, -9.0))
    assert bright > 4 * dark


def test_a_room_rings_after_the_sound():
    click = np.zeros(RATE, np.float32)
    click[0] = 0.5
    ringing = reverberate(click, RATE, 0.4, 0.0, np.random.default_rng(0))
    early, late = ringing[: RATE // 10], ringing[int(0.41 * RATE) :]
    assert power(early) > 0 and np.abs(late).max() < 1e-6


@pytest.mark.parametrize("codec", list(CODECS))
def test_codecs_keep_length_and_sound(voice: np.ndarray, codec: str):
    best = encode(voice, RATE, codec, CODECS[codec][1][-1])
    assert best.shape == voice.shape
    # magnitudes, since codecs delay the sound
    spectra = [np.abs(np.fft.rfft(sound * np.hanning(len(sound)))) for sound in (voice, best)]
    assert np.corrcoef(*spectra)[0, 1] > 0.9


def test_an_unsupported_rate_is_an_error(voice: np.ndarray):
    with pytest.raises(MercError, match="22050 Hz with libopus"):
        encode(voice, 22_050, "libopus", 16_000)
