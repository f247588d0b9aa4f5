"""Audio features equal openSMILE's for the same samples, and unusable sound is refused."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import opensmile
import pytest
import torch
import torchaudio.functional

from extractors import AudioExtractor
from extractors.sound import is_silent
from pipeline.core.errors import MercError
from pipeline.core.fingerprints import fingerprint_id


def sound_of(path: Path, rate: int = 16000) -> np.ndarray:
    with av.open(str(path)) as file:
        resampler = av.AudioResampler("flt", "mono", rate)
        parts = [
            out.to_ndarray()[0]
            for frame in file.decode(audio=0)
            for out in resampler.resample(frame)
        ]
    return np.concatenate(parts)


@pytest.fixture(scope="module")
def clips(media: Path) -> list[np.ndarray]:
    paths = [*sorted((media / "grid").glob("*.mpg"))[:3], media / "jfk.flac"]
    return [sound_of(path)[: 5 * 16000] for path in paths]


@pytest.fixture(scope="module")
def compat() -> AudioExtractor:
    return AudioExtractor()


def test_values_equal_opensmile(clips, compat):
    reference = opensmile.Smile(opensmile.FeatureSet.IS10, opensmile.FeatureLevel.Functionals)
    for clip in clips:
        expected = reference.process_signal(np.clip(clip, -1, 32767 / 32768), 16000).to_numpy()[0]
        np.testing.assert_array_equal(compat.extract(clip, 16000), expected)
    assert compat.names == reference.feature_names and len(compat.names) == compat.dim == 1582


def test_plain_differs_where_opensmile_was_corrected(clips, compat):
    plain = AudioExtractor("plain")
    one, other = compat.extract(clips[-1], 16000), plain.extract(clips[-1], 16000)
    changed = {
        name.split("_")[0].rstrip("0123456789[]")
        for name, a, b in zip(plain.names, one, other, strict=True)
        if abs(a - b) > 0.01 * max(abs(a), 1e-6)
    }
    assert {"lspFreq", "voicingFinalUnclipped"} <= changed
    same = [
        k
        for k, name in enumerate(plain.names)
        if name.startswith(("pcm_loudness", "mfcc", "logMelFreqBand"))
    ]
    np.testing.assert_allclose(one[same], other[same], rtol=1e-4, atol=1e-4)
    assert fingerprint_id(plain.fingerprint) != fingerprint_id(compat.fingerprint)


def test_other_rates_are_resampled(clips, compat):
    clip = clips[-1]
    high = torchaudio.functional.resample(torch.from_numpy(clip), 16000, 48000).numpy()
    actual, expected = compat.extract(high, 48000), compat.extract(clip, 16000)
    loudness = [
        k for k, name in enumerate(compat.names) if name.startswith("pcm_loudness_sma_amean")
    ]
    np.testing.assert_allclose(actual[loudness], expected[loudness], rtol=0.02)
    wrong = compat.extract(high, 16000)
    assert abs(actual - expected).mean() < 0.2 * abs(wrong - expected).mean()


def test_full_scale_does_not_wrap(clips, compat):
    loud = 1.02 * clips[-1] / np.abs(clips[-1]).max()
    clipped = np.clip(loud, -1, 32767 / 32768)
    actual = compat.extract(loud, 16000)
    np.testing.assert_array_equal(actual, compat.extract(clipped, 16000))
    wrapped = opensmile.Smile(opensmile.FeatureSet.IS10, opensmile.FeatureLevel.Functionals)(
        loud, 16000
    ).reshape(-1)
    assert not np.array_equal(actual, wrapped)  # hence the clipping


def test_bad_sound_is_refused(compat):
    wave = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    for bad, rate, words in (
        (wave[:1599], 16000, "100 ms"),
        (wave[:0], 16000, "100 ms"),
        (np.stack([wave, wave]), 16000, "one channel"),
        (wave[:, None], 16000, "one channel"),
        ((wave * 3e4).astype(np.int16), 16000, "int16"),
        (wave, 0, "rate"),
        (wave, -16000, "rate"),
        (wave, 16, "rate"),
        (np.where(wave > 0.3, np.nan, wave), 16000, "NaN"),
        (np.where(wave > 0.3, np.inf, wave), 16000, "NaN"),
    ):
        with pytest.raises(MercError, match=words):
            compat.extract(bad, rate)
    with pytest.raises(ValueError, match="; treat the feature as missing"):
        compat.extract(wave[:1599], 16000)
    assert np.isfinite(compat.extract(wave[:1600], 16000)).all()
    with pytest.raises(ValueError, match="choose one of compat, plain"):
        AudioExtractor("enhanced")


def test_silence_is_finite_and_recognised(compat):
    nothing = np.zeros(16000, np.float32)
    assert np.isfinite(compat.extract(nothing, 16000)).all()
    assert is_silent(nothing) and is_silent(nothing[:0])
    dither = np.random.default_rng(0).integers(-1, 2, 16000).astype(np.float32) / 32768
    assert is_silent(dither)
    assert not is_silent(0.01 * np.sin(np.arange(16000, dtype=np.float32)))
    assert not compat.voiced(compat.extract(nothing, 16000))


def test_sound_beyond_a_minute_is_cut_and_reported(compat):
    wave = np.random.default_rng(0).normal(0, 0.1, 61 * 16000).astype(np.float32)
    vector = compat.extract(wave, 16000)
    np.testing.assert_array_equal(vector, compat.extract(wave[: 60 * 16000], 16000))
    report = compat.quality(wave, 16000, vector)
    assert report["cut"] and report["seconds"] == 61 and report["used_seconds"] == 60
    assert not compat.quality(wave[:16000], 16000)["cut"]


def test_the_callers_array_is_not_changed(clips, compat):
    clip = clips[0].copy()
    clip[100] = 2.0
    before = clip.copy()
    compat.extract(clip, 16000)
    np.testing.assert_array_equal(clip, before)


def test_threads_and_processes_give_the_same(clips, compat):
    expected = [compat.extract(clip, 16000) for clip in clips]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            for actual, one in zip(
                pool.map(lambda clip: compat.extract(clip, 16000), clips), expected, strict=True
            ):
                np.testing.assert_array_equal(actual, one)
    copy = pickle.loads(pickle.dumps(AudioExtractor("plain")))  # noqa: S301  as a process pool does
    assert copy.variant == "plain"
