"""Recordings: which files are refused; audio and frames in the time of the file."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.broken_clips import damage_video, rewrite
from support.clips import tone, write_video, write_wav
from support.paths import ROOT

from pipeline.media.decode import MediaError, open_media
from pipeline.media.resampling import StreamResampler

PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nsecret.wav\n#EXT-X-ENDLIST\n",
    "hls after blanks": "\n" * 5000 + "#EXTM3U\n#EXTINF:10,\nsecret.wav\n",
    "ffconcat": "ffconcat version 1.0\nfile secret.wav\n",
    "concat": "file 'secret.wav'\n",
    "sdp": (
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n"
    ),
    "dash": '<?xml version="1.0"?><MPD><Period><BaseURL>secret.wav</BaseURL></Period></MPD>',
    "pls": "[playlist]\nFile1=secret.wav\n",
    "text": "only words\n" * 100,
    "nothing": "",
    "metadata": ";FFMETADATA1\ntitle=x\n",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
def test_other_files_are_refused_whatever_their_name(tmp_path: Path, kind: str) -> None:
    write_wav(tmp_path / "secret.wav", [tone(1, 16_000)], 16_000)
    for name in ("x.mp4", "x.wav", "x.m3u8"):
        (tmp_path / name).write_text(PLAYLISTS[kind])
        with pytest.raises(MediaError, match=name), open_media(tmp_path / name) as recording:
            recording.sound()


def test_network_names_are_refused_without_a_connection(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def connect(*_: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", connect)
    secret = write_wav(tmp_path / "secret.wav", [tone(1, 16_000)], 16_000)
    # libav opens its own sockets, so a real server checks that it does not connect
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.setblocking(False)
        port = server.getsockname()[1]
        for name in (
            f"http://127.0.0.1:{port}/x.mp4",
            f"tcp://127.0.0.1:{port}",
            f"concat:{secret}",
            f"file:{secret}",
            "pipe:0",
            "data:audio/wav;base64,AAAA",
            "lavfi:sine",
            f"subfile,,start,0,end,0,,:{secret}",
        ):
            with pytest.raises(MediaError):
                open_media(name)
        (tmp_path / "x.m3u8").write_text(f"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:{port}/x.ts\n")
        with pytest.raises(MediaError):
            open_media(tmp_path / "x.m3u8")
        with pytest.raises(BlockingIOError):
            server.accept()


def test_missing_folder_pipe_and_device_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    for name in (
        tmp_path / "none.mp4",
        tmp_path,
        tmp_path / "pipe.mp4",
        tmp_path / "loop.mp4",
        Path("/dev/zero"),
        "a\0b",
        "x" * 5000,
        "-",
    ):
        with pytest.raises(MediaError):
            open_media(name)


@pytest.mark.parametrize(
    "name",
    [
        "-dash.wav",
        "--help.wav",
        "http:x.wav",
        "concat:x.wav",
        "ü 日本 %03d.wav",
        "a*[b]?.wav",
        "new\nline.wav",
        "quo'te\".wav",
    ],
)
def test_odd_names_are_local_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_wav(tmp_path / "plain.wav", [tone(0.5, 16_000)], 16_000)
    shutil.copy("plain.wav", f"./{name}")
    (tmp_path / "link.wav").symlink_to(name)
    for path in (name, "link.wav"):
        with open_media(path) as recording:
            assert recording.duration == 0.5 and len(recording.sound()) == 8000
            assert recording.sha256 == hashlib.sha256(Path("plain.wav").read_bytes()).hexdigest()


@pytest.mark.parametrize("rate", [8000, 11_025, 44_100, 44_101, 48_000, 96_000])
def test_any_rate_and_stereo_become_16_khz_mono(tmp_path: Path, rate: int) -> None:
    """A tone stays the same tone. Channels are averaged, so a silent one halves it."""
    path = write_wav(tmp_path / "x.wav", [tone(1.2345, rate), np.zeros(round(1.2345 * rate))], rate)
    with open_media(path) as recording:
        sound = recording.sound()
        assert recording.duration == pytest.approx(1.2345, abs=1e-3)
        assert len(sound) == pytest.approx(19_752, abs=2)
    middle = slice(2000, -2000)
    assert np.abs(sound - 0.5 * tone(2, 16_000)[: len(sound)])[middle].max() < 0.01


RATES = (8000, 11_025, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000, 12_300, 44_050)


@pytest.mark.parametrize("rate", RATES)
@settings(max_examples=4, deadline=None)
@given(st.lists(st.integers(0, 200_000), min_size=1, max_size=6))
def test_resampling_in_blocks_equals_resampling_the_whole(rate: int, sizes: list[int]) -> None:
    import torch
    from torchaudio.transforms import Resample

    wave = np.random.default_rng(sum(sizes)).uniform(-1, 1, sum(sizes)).astype(np.float32)
    stream, parts, first = StreamResampler(rate), [], 0
    for size in sizes:
        parts.append(stream.push(wave[first : first + size]))
        first += size
    parts.append(stream.flush())
    whole = Resample(rate, 16_000)(torch.from_numpy(wave)).numpy() if len(wave) else wave
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=0, atol=2e-6)


@pytest.mark.parametrize("rate", [44_101, 44_056, 12_345, 192_001, 2_000_000_011, 4_800_000_000])
def test_rates_without_a_small_ratio_are_refused(rate: int) -> None:
    with pytest.raises(ValueError, match="no small ratio"):
        StreamResampler(rate)


def test_a_window_of_sound_is_a_slice_of_the_whole(media: Path) -> None:
    with open_media(media / "jfk.flac") as recording:
        whole = recording.sound()
        assert np.array_equal(recording.sound(1.25, 2.5), whole[20_000:40_000])
        assert len(recording.sound(10.9, 99)) == len(whole) - 174_400
        assert not len(recording.sound(50, 60)) and not len(recording.sound(3, 2))
        assert len(recording.sound(-5, 1)) == 16_000


def test_variable_frame_rate_goes_by_timestamps(tmp_path: Path) -> None:
    times = [0.0, 0.033, 0.066, 0.1, 0.5, 0.51, 0.52, 0.95, 1.0, 1.8]
    path = write_video(tmp_path / "x.mkv", times)
    with open_media(path) as recording:
        frames = [(time, int(frame.mean())) for time, frame in recording.frames(10)]
        assert not recording.has_audio and recording.has_video and recording.duration >= 1.8
    assert [time for time, _ in frames] == pytest.approx([0, 0.1, 0.5, 0.95, 1.0, 1.8], abs=2e-3)
    for time, grey in frames:  # the frame is the one of that time
        nearest = min(range(len(times)), key=lambda k: abs(times[k] - time))
        assert abs(grey - 10 * nearest % 250) <= 6


def test_sound_that_starts_late_keeps_its_time(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "x.mkv", [k / 10 for k in range(30)], tone(1.0, 16_000), sound_at=1.5
    )
    with open_media(path) as recording:
        sound = recording.sound()
        assert recording.duration == pytest.approx(3.0, abs=0.05)
    assert np.abs(sound[:23_900]).max() < 1e-3 < 0.4 < np.abs(sound[24_100:24_200]).max()


def test_times_count_from_the_start_of_the_file_when_both_streams_start_late(
    tmp_path: Path, media: Path
) -> None:
    """Timestamps of MPEG streams start anywhere; a player shows 0."""
    path = write_video(tmp_path / "x.ts", [5 + k / 10 for k in range(20)])
    with open_media(path) as recording:
        assert next(recording.frames())[0] == pytest.approx(0, abs=0.05)
        assert recording.duration == pytest.approx(2.0, abs=0.1)
    with open_media(media / "grid" / "bbaf2n.mpg") as recording:  # its timestamps start at .5 s
        assert recording.duration == pytest.approx(3.0, abs=0.1)


@pytest.mark.parametrize("angle", [0, 90, 180, 270])
def test_rotation_is_applied(tmp_path: Path, angle: int) -> None:
    """The test edits the display matrix in the header: 90° gives 48 × 64, as phones record."""
    path = write_video(tmp_path / "x.mp4", [k / 10 for k in range(5)])
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # in version 0 the matrix is at byte 40 of the box
    cos, sin = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[angle]
    for k, value in enumerate((cos, sin, 0, -sin, cos)):
        data[at + 4 * k : at + 4 * k + 4] = (value << 16).to_bytes(4, "big", signed=True)
    path.write_bytes(data)
    with open_media(path) as recording:
        frame = next(recording.frames())[1]
    assert frame.shape == ((48, 64, 3) if angle % 180 == 0 else (64, 48, 3))
    assert frame.flags["C_CONTIGUOUS"] and frame.dtype == np.uint8


def test_the_duration_is_not_taken_from_the_header(tmp_path: Path, media: Path) -> None:
    data = bytearray((media / "hamilton.mp4").read_bytes())
    at = data.index(b"mvhd") + 4
    scale = int.from_bytes(data[at + 12 : at + 16], "big")
    data[at + 16 : at + 20] = (scale * 36_000).to_bytes(4, "big")
    (tmp_path / "x.mp4").write_bytes(data)
    wav = bytearray(write_wav(tmp_path / "x.wav", [tone(2, 16_000)], 16_000).read_bytes())
    wav[40:44] = (36_000 * 32_000).to_bytes(4, "little")
    (tmp_path / "x.wav").write_bytes(wav)
    for name, length in (("x.mp4", 10.0), ("x.wav", 2.0)):
        with open_media(tmp_path / name) as recording:
            assert recording.duration == pytest.approx(length, abs=0.05)


def test_a_file_cut_short_gives_its_content_or_an_error(tmp_path: Path, media: Path) -> None:
    whole = (media / "hamilton.mp4").read_bytes()
    (tmp_path / "x.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MediaError, match=r"x\.mp4.*cut short"):
        open_media(tmp_path / "x.mp4")
    clip = (media / "grid" / "bbaf2n.mpg").read_bytes()
    (tmp_path / "x.mpg").write_bytes(clip[: len(clip) // 2])
    with open_media(tmp_path / "x.mpg") as recording:
        assert 1 < recording.duration < 2 and len(list(recording.frames())) > 8
        assert any("cut short" in warning.text for warning in recording.warnings)
    flac = (media / "jfk.flac").read_bytes()
    (tmp_path / "x.flac").write_bytes(flac[: len(flac) // 2])
    with open_media(tmp_path / "x.flac") as recording:
        assert 4 < recording.duration < 7
        assert {warning.subject for warning in recording.warnings} == {"x.flac"}
        assert any("cut short" in warning.text for warning in recording.warnings)


def test_very_short_audio(tmp_path: Path) -> None:
    for samples in (1, 320, 800):
        path = write_wav(tmp_path / "x.wav", [tone(1, 16_000)[:samples]], 16_000)
        with open_media(path) as recording:
            assert (
                len(recording.sound()) == samples
                and recording.has_audio
                and not list(recording.frames())
            )
    path = write_wav(tmp_path / "x.wav", [tone(0, 1)], 8000)
    with pytest.raises(MediaError, match="nothing in it"), open_media(path) as recording:
        recording.sound()


def test_content_of_the_edge_clips(media: Path) -> None:
    for name, sound, length in (
        ("face_no_audio_stream.mp4", False, 4.6),
        ("face_silent_audio.mp4", True, 19.69),
        ("face_then_none_hevc.mov", True, 6.4),
        ("no_face.mp4", True, 3.97),
    ):
        with open_media(media / "edge" / name) as recording:
            assert (recording.has_audio, recording.has_video) == (sound, True), name
            assert recording.duration == pytest.approx(length, abs=0.05), name
            assert next(recording.frames())[1].ndim == 3


def test_no_temporary_files_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "t"))
    (tmp_path / "t").mkdir()
    path = write_wav(tmp_path / "x.wav", [tone(1, 16_000)], 16_000)
    handles = len(os.listdir("/proc/self/fd"))
    recording = open_media(path)
    recording.sound()
    assert not list((tmp_path / "t").iterdir())  # unnamed: gone even if the process is killed
    recording.close()
    assert len(os.listdir("/proc/self/fd")) == handles


def test_an_hour_of_audio_stays_on_disk(tmp_path: Path) -> None:
    """An hour decoded to 16 kHz takes 230 MB, which must not be in memory."""
    block = (tone(60, 8000) * 3000).astype("<i2").tobytes()
    for name, minutes in (("short.flac", 1), ("long.flac", 60)):
        with av.open(str(tmp_path / name), "w") as out:
            stream = out.add_stream("flac", rate=8000, layout="mono")
            for _ in range(minutes):
                frame = av.AudioFrame.from_ndarray(
                    np.frombuffer(block, np.int16)[None], "s16", "mono"
                )
                frame.sample_rate = 8000
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    code = """
import sys
from pathlib import Path
from measure import peak_memory
from pipeline.media.decode import open_media
for path in sys.argv[1:]:
    with open_media(Path(path)) as recording:
        end = round(recording.duration)
        print(end, len(recording.sound(end - 1, end)), peak_memory())
"""
    child = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "short.flac"), str(tmp_path / "long.flac")],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'benchmarks'}"},
    )
    short, long = ([float(x) for x in line.split()] for line in child.stdout.splitlines())
    assert short[:2] == [60, 16_000] and long[:2] == [3600, 16_000]
    assert long[2] - short[2] < 120  # MiB


def test_threads_may_read_at_the_same_time(media: Path) -> None:
    with open_media(media / "jfk.flac") as recording:
        sounds: list[np.ndarray] = []
        threads = [
            threading.Thread(target=lambda: sounds.append(recording.sound(2, 3))) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(sounds) == 4 and all(np.array_equal(sounds[0], other) for other in sounds)


def test_a_video_that_cannot_be_decoded_costs_the_video_and_is_said(shared, tmp_path):
    source = rewrite(shared / "cases" / "dlg.mp4", tmp_path / "x.flv", lambda _: 0.0)
    with open_media(damage_video(source, tmp_path / "damaged.flv")) as recording:
        assert recording.sound().size and not list(recording.frames())
        assert any("video" in warning.text for warning in recording.warnings)


def test_a_picture_that_is_too_large_is_named_with_its_size(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "x.mov"), "w") as out:
        stream = out.add_stream("png", rate=1, width=8200, height=8200, pix_fmt="gray")
        out.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((8200, 8200), np.uint8), "gray")))
        out.mux(stream.encode(None))
    with pytest.raises(MediaError, match="8200 × 8200 pixels, more than the 67,108,864"):
        open_media(tmp_path / "x.mov")
