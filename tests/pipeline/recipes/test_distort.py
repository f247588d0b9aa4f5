"""Distortions: a function of the seed, of the strength that was asked for, harmless to silence and length."""

from __future__ import annotations

import numpy as np
import pytest

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
    """A buzz with a melody and syllables, 1.5 s: a spectrum like a voice's."""
    time = np.arange(int(1.5 * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(120 + 20 * np.sin(2 * np.pi * 2 * time)) / RATE
    tones = sum(np.sin(k * phase) / k for k in range(1, 30))
    return (0.2 * tones * (0.55 + 0.45 * np.sin(2 * np.pi * 4 * time))).astype(np.float32)


def power(waveform: np.ndarray) -> float:
    return float(np.mean(np.square(waveform, dtype=np.float64)))


def test_seed_decides(voice: np.ndarray):
    assert np.array_equal(distort(voice, RATE, 7), distort(voice, RATE, 7))
    heard = [distort(voice, RATE, seed) for seed in range(20)]
    assert len({part.tobytes() for part in heard}) == 20
    for part in heard:
        assert part.dtype == np.float32 and np.isfinite(part).all() and np.abs(part).max() <= 1.5
        assert len(voice) - 0.3 * RATE <= len(part) <= len(voice) + RATE


def test_short_and_silent_sound_survive():
    for seed in range(10):
        assert np.isfinite(distort(np.zeros(RATE // 2, np.float32), RATE, seed)).all()
        assert len(distort(np.full(1600, 0.1, np.float32), RATE, seed)) >= 1600


@pytest.mark.parametrize("snr", [0.0, 15.0, 30.0])
@pytest.mark.parametrize("slope", [0.0, 1.0, 2.0])
def test_noise_has_the_asked_strength(voice: np.ndarray, snr: float, slope: float):
    noise = add_noise(voice, RATE, snr, slope, np.random.default_rng(0)) - voice
    assert 10 * np.log10(power(voice) / power(noise)) == pytest.approx(snr, abs=0.1)


def test_noise_has_the_asked_colour(voice: np.ndarray):
    def share_below_1000(slope: float) -> float:
        noise = add_noise(voice, RATE, 0.0, slope, np.random.default_rng(0)) - voice
        energy = np.abs(np.fft.rfft(noise)) ** 2
        return energy[np.fft.rfftfreq(len(noise), 1 / RATE) < 1000].sum() / energy.sum()

    white, pink, brown = (share_below_1000(slope) for slope in (0.0, 1.0, 2.0))
    assert white == pytest.approx(1 / 8, abs=0.03) and white < pink < brown
    rumble = (
        np.abs(np.fft.rfft(add_noise(voice, RATE, 0.0, 2.0, np.random.default_rng(0)) - voice)) ** 2
    )
    assert rumble[: int(50 * len(voice) / RATE)].sum() < 1e-6 * rumble.sum()


def test_gain_and_clipping(voice: np.ndarray):
    assert np.allclose(gain(voice, -12), voice * 10 ** (-12 / 20), atol=1e-6)
    assert np.abs(gain(voice, 40)).max() <= 1


def test_rooms_and_equalisers_keep_the_level(voice: np.ndarray):
    for changed in (
        reverberate(voice, RATE, 0.5, 0.0, np.random.default_rng(0)),
        tilt(voice, RATE, 9.0),
    ):
        assert power(changed) == pytest.approx(power(voice), rel=0.01) and len(changed) == len(
            voice
        )
    bright, dark = tilt(voice, RATE, 9.0), tilt(voice, RATE, -9.0)
    assert power(band_limit(bright, RATE, 2000, 6000)) > 4 * power(
        band_limit(dark, RATE, 2000, 6000)
    )


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
    spectrum = [
        np.abs(np.fft.rfft(part * np.hanning(len(part)))) for part in (voice, best)
    ]  # blind to codec delay
    assert np.corrcoef(*spectrum)[0, 1] > 0.9


def test_a_codec_that_is_not_there_says_so(voice: np.ndarray):
    with pytest.raises(ValueError, match="libopus"):
        encode(voice, 22_050, "libopus", 16_000)
