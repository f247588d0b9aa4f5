"""Which streams and channels become the sound, and what the output says about it."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
from support.broken_clips import write_tracks
from support.clips import sound_of, tone, write_wav

from pipeline.media import sound as sound_module
from pipeline.media.decode import MediaError, open_media
from pipeline.media.levels import Levels


@pytest.fixture(scope="module")
def voice(shared: Path) -> np.ndarray:
    """Two sentences, (n,) at 16 kHz."""
    return np.clip(sound_of(shared / "cases" / "dlg.m4a"), -1, 1)


def decode(path: Path) -> tuple[np.ndarray, dict, list[str]]:
    with open_media(path) as recording:
        sound = recording.sound()
        return sound, recording.sound_source, [warning.text for warning in recording.warnings]


@pytest.mark.parametrize("gain", [1.0, 0.6, 1.4])
def test_an_inverted_channel_is_turned_over(tmp_path: Path, voice: np.ndarray, gain: float) -> None:
    left = 0.6 * voice
    sound, source, warnings = decode(write_wav(tmp_path / "x.wav", [left, -gain * left], 16_000))
    assert np.allclose(sound, (1 + gain) / 2 * left, atol=1e-3)
    assert source == {"streams": [0], "mix": "mean of 2 channels, channel 2 inverted"}
    assert any("cancel" in text for text in warnings)


def test_channels_that_cancel_in_parts_are_not_mixed(tmp_path: Path, voice: np.ndarray) -> None:
    half = len(voice) // 2
    right = np.concatenate([voice[:half], -voice[half:]])
    sound, source, _ = decode(write_wav(tmp_path / "x.wav", [voice, right], 16_000))
    assert np.allclose(sound, voice, atol=1e-3) and source["mix"] == "channel 1 of 2"


@pytest.mark.parametrize("rate", [16_000, 11_025, 44_100])
def test_ordinary_stereo_is_the_mean(tmp_path: Path, voice: np.ndarray, rate: int) -> None:
    noise = np.random.default_rng(0).normal(0, 0.05, len(voice)).astype(np.float32)
    for right in (voice, 0 * voice, noise, np.roll(voice, 8), np.roll(voice, 30_000)):
        path = write_wav(tmp_path / "x.wav", [voice, right], rate)
        _, source, warnings = decode(path)
        assert source == {"streams": [0], "mix": "mean of 2 channels"} and not warnings


def test_mono_tracks(tmp_path: Path, voice: np.ndarray) -> None:
    silence, hiss = 0 * voice, np.random.default_rng(0).normal(0, 3e-4, len(voice))
    hiss = hiss.astype(np.float32)
    for tracks, streams, mix, expected in (
        ([silence, voice], [1], "mono", voice),
        ([hiss, voice, hiss], [1], "mono", voice),
        ([voice, voice], [0, 1], "mean of 2 streams", voice),
        ([voice, -voice], [0, 1], "mean of 2 streams, stream 1 inverted", voice),
        ([silence, voice, 0.5 * voice], [1, 2], "mean of 2 streams", 0.75 * voice),
    ):
        path = write_tracks(tmp_path / "x.mka", [track[None] for track in tracks])
        sound, source, warnings = decode(path)
        assert source == {"streams": streams, "mix": mix}
        assert np.abs(sound[: len(voice)] - expected[: len(sound)]).max() < 2e-3
        assert any(f"{len(tracks)} " in text for text in warnings)


def test_languages_are_not_mixed_and_a_silent_stream_is_passed_over(
    tmp_path: Path, voice: np.ndarray
) -> None:
    other = np.roll(voice, 20_000)
    path = write_tracks(tmp_path / "x.mka", [voice[None], other[None]], languages=("eng", "spa"))
    sound, source, _ = decode(path)
    assert source["streams"] == [0] and np.abs(sound - voice[: len(sound)]).max() < 2e-3
    stereo = np.stack([voice, voice])
    sound, source, warnings = decode(write_tracks(tmp_path / "y.mka", [0 * stereo, stereo]))
    assert source == {"streams": [1], "mix": "mean of 2 channels"} and np.abs(sound).max() > 0.1
    assert warnings == ["2 audio streams; stream 0 is silent, using stream 1"]
    _, source, _ = decode(write_tracks(tmp_path / "z.mka", [0 * stereo, 0 * stereo]))
    assert source["streams"] == [0]


def test_one_microphone_of_several_channels(tmp_path: Path, voice: np.ndarray) -> None:
    silence = 0 * voice
    path = write_wav(tmp_path / "x.wav", [silence, silence, voice, silence], 16_000)
    sound, source, _ = decode(path)
    assert source["mix"] == "channel 3 of 4" and np.allclose(sound, voice, atol=1e-3)


@pytest.mark.parametrize("offset", [0.01, 0.05, -0.2])
def test_a_constant_offset_is_removed(tmp_path: Path, voice: np.ndarray, offset: float) -> None:
    clean, _, _ = decode(write_wav(tmp_path / "x.wav", [0.7 * voice], 44_100))
    sound, source, warnings = decode(write_wav(tmp_path / "y.wav", [0.7 * voice + offset], 44_100))
    assert source["mix"] == "mono, offset removed" and len(warnings) == 1
    assert abs(sound.mean()) < 2e-3
    inner = slice(8000, -8000)  # the file begins and ends with a step
    error = (sound - clean)[inner]
    assert np.std(error) < 0.001 and abs(error.mean()) < 0.002


def test_an_offset_in_one_part_is_removed(tmp_path: Path, voice: np.ndarray) -> None:
    """As when two recordings are joined."""
    part = np.where(np.arange(len(voice)) < len(voice) // 2, 0.05, 0.0)
    sound, source, _ = decode(write_wav(tmp_path / "x.wav", [0.7 * voice + part], 16_000))
    assert source["mix"] == "mono, offset removed"
    means = [block.mean() for block in np.array_split(sound, 6)]
    assert np.abs(means).max() < 0.003


@pytest.mark.parametrize(
    ("name", "mix", "stream"),
    [
        ("media/inverted.flac", "mean of 2 channels, channel 2 inverted", 0),
        ("media/mono_tracks.mxf", "mono", 2),
        ("media/dc05.wav", "mono, offset removed", 0),
        ("hostile/med_unknown_video_codec.mkv", "mean of 2 channels", 1),
    ],
)
def test_cases(shared: Path, name: str, mix: str, stream: int) -> None:
    path = shared / "cases" / name
    sound, source, warnings = decode(path)
    assert source == {"streams": [stream], "mix": mix}
    assert warnings and np.sqrt(np.mean(sound**2)) > 0.05
    with open_media(path) as recording:
        assert recording.has_video == name.endswith("mxf")


def test_impossible_sample_rates_are_refused_at_once(
    tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.TemporaryFile", None)  # nothing is decoded
    for name in ("rate_1hz.wav", "rate_1hz_2kB.wav"):
        with pytest.raises(MediaError, match="1 Hz"):
            open_media(shared / "cases" / "hostile" / name)
    for rate in (1, 8, 999, 4_000_000_000):
        path = write_wav(tmp_path / "x.wav", [tone(0.1, 16_000)], 16_000)
        data = bytearray(path.read_bytes())
        data[24:28] = rate.to_bytes(4, "little")
        path.write_bytes(data)
        with pytest.raises(MediaError):
            open_media(path)


@pytest.mark.parametrize("rate", [1000, 2000, 4000])
def test_memory_at_low_rates_is_that_of_the_output(tmp_path: Path, rate: int) -> None:
    import tracemalloc

    with wave.open(str(tmp_path / "x.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.zeros(400 * rate, "<i2").tobytes())
    with open_media(tmp_path / "x.wav") as recording:
        tracemalloc.start()
        assert recording.duration == pytest.approx(400)
        assert tracemalloc.get_traced_memory()[1] < 60e6
        tracemalloc.stop()


def test_the_temporary_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound_module, "LONGEST", 2)
    path = write_wav(tmp_path / "x.wav", [tone(10, 16_000)], 16_000)
    with open_media(path) as recording:
        assert recording.duration <= 2.5
        assert any("longer than" in warning.text for warning in recording.warnings)


def test_channel_power(tmp_path: Path) -> None:
    left, right = tone(4, 11_025), 0.1 * tone(4, 11_025, 300)
    left[: 2 * 11_025] = 0
    with open_media(write_wav(tmp_path / "x.wav", [left, right], 11_025)) as recording:
        assert recording.channel_power(0.5, 1.5) == pytest.approx([0, 0.00125], abs=2e-4)
        assert recording.channel_power(2.5, 3.5) == pytest.approx([0.125, 0.00125], rel=0.1)


def test_levels_do_not_depend_on_how_samples_arrive() -> None:
    rng = np.random.default_rng(0)
    samples = rng.standard_normal((2, 50_000))
    whole, parts, first = Levels(), Levels(), 0
    whole.add(samples, 0.0, 11_025)
    whole.finish()
    while first < samples.shape[1]:
        last = first + int(rng.integers(1, 3000))
        parts.add(samples[:, first:last], first / 11_025, 11_025)
        first = last
    parts.finish()
    assert np.allclose(whole.power(0, 4), parts.power(0, 4), rtol=0.02)
    assert np.allclose(whole.covariance, parts.covariance, rtol=0.02, atol=50)
