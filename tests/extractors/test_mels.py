"""Mel energies equal Kaldi's, as torchaudio computes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torchaudio.compliance.kaldi import fbank

from extractors.mels import kaldi_mels
from pipeline.core.errors import MercError
from pipeline.media.decode import open_media


def torchaudio_mels(samples: np.ndarray, kind: torch.dtype) -> np.ndarray:
    sound = 32768 * torch.from_numpy(samples)[None].to(kind)
    return fbank(sound, num_mel_bins=80, sample_frequency=16_000, dither=0.0).numpy()


def noise(count: int, level: float = 0.1) -> np.ndarray:
    return (level * np.random.default_rng(count).standard_normal(count)).astype(np.float32)


@pytest.mark.parametrize("name", ["jfk.flac", "hamilton.mp4", "grid/bbaf2n.mpg"])
def test_speech(media: Path, name: str) -> None:
    with open_media(media / name) as recording:
        sound = recording.sound(0, 30)
    mels = kaldi_mels(sound)
    assert mels.dtype == np.float32 and mels.shape == (1 + (len(sound) - 400) // 160, 80)
    np.testing.assert_allclose(mels, torchaudio_mels(sound, torch.float64), rtol=0, atol=1e-3)
    # torchaudio's float32 spectrum is coarser in bands far below the loudest
    difference = abs(mels - torchaudio_mels(sound, torch.float32))
    assert difference.max() < 0.02 and difference.mean() < 1e-4


@pytest.mark.parametrize(
    "samples",
    [noise(400), noise(559), noise(560), noise(16_000), noise(16_000, 1e-5), noise(16_000, 0.0)],
    ids=["shortest", "almost two frames", "two frames", "second", "soft", "silence"],
)
def test_noise_and_silence(samples: np.ndarray) -> None:
    expected = torchaudio_mels(samples, torch.float32)
    np.testing.assert_allclose(kaldi_mels(samples), expected, rtol=0, atol=1e-3)


def test_too_short_a_sound_is_refused() -> None:
    with pytest.raises(MercError, match="399 samples"):
        kaldi_mels(noise(399))
