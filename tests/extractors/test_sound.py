"""Sound is resampled as torchaudio does, without loading it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.imports import run_alone
from torchaudio.transforms import Resample

from extractors.sound import MAX_SAMPLE, prepare_sound


@pytest.mark.parametrize(
    "rate", [4000, 8000, 11_025, 15_990, 16_000, 22_050, 44_056, 44_100, 48_000, 192_000, 384_000]
)
def test_resampling_equals_torchaudio(rate: int) -> None:
    wave = np.random.default_rng(rate).uniform(-1, 1, rate + 7).astype(np.float32)
    for part in (wave, wave[: -(-rate // 10)]):
        expected = Resample(rate, 16_000)(torch.from_numpy(part)).clip(-1, MAX_SAMPLE)
        sound = prepare_sound(part, rate)
        assert sound.dtype == np.float32
        np.testing.assert_allclose(sound, expected, rtol=0, atol=2e-6)


def test_a_prime_rate_is_resampled() -> None:
    """Its filter has 700 million weights, almost all of them zero."""
    wave = np.sin(np.arange(44_101) * (2 * np.pi * 440 / 44_101)).astype(np.float32) / 2
    expected = np.sin(np.arange(16_000) * (2 * np.pi * 440 / 16_000)) / 2
    np.testing.assert_allclose(prepare_sound(wave, 44_101)[50:-50], expected[50:-50], atol=1e-3)


def test_sound_needs_neither_torch_nor_scipy() -> None:
    _, modules = run_alone(
        "import numpy as np\n"
        "from extractors.mels import kaldi_mels\n"
        "from extractors.sound import prepare_sound\n"
        "from pipeline.media.resampling import StreamResampler\n"
        "stream, wave = StreamResampler(44100), np.zeros(300_000, np.float32)\n"
        "assert len(stream.push(wave)) and len(stream.flush())\n"
        "kaldi_mels(prepare_sound(wave, 48000))"
    )
    assert not {"torch", "torchaudio", "scipy"} & modules
