"""Recordings that were cut short are told from whole ones."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.media.decode import open_media
from pipeline.media.endings import EBML, SEGMENT, describe_cut

RATE = 48_000
SOUND = {"wav": "pcm_s16le", "w64": "pcm_s16le", "caf": "pcm_s16le"}
BOTH = {  # mpeg: MPEG-1, vob: MPEG-2
    "avi": "pcm_s16le",
    "matroska": "pcm_s16le",
    "mpeg": "mp2",
    "vob": "mp2",
    "mpegts": "mp2",
}
NAMES = {"vob": "mpeg", "matroska": "matroska,webm"}  # libav's name for what it reads


def record(path: Path, form: str, **options: str) -> bytes:
    """Write 1 s of noise, with a picture where the format has one; return the file."""
    noise = np.random.default_rng(0)
    with av.open(str(path), "w", format=form, options=options) as container:
        sound = container.add_stream((SOUND | BOTH)[form], rate=RATE)
        sound.layout = "mono"
        video = container.add_stream("mpeg2video", rate=25) if form in BOTH else None
        if video:
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for k in range(25):
            if video:
                pixels = noise.integers(0, 255, (48, 64, 3), dtype=np.uint8)
                container.mux(video.encode(av.VideoFrame.from_ndarray(pixels)))
            samples = noise.integers(-9000, 9000, (1, RATE // 25), dtype=np.int16)
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE, k * RATE // 25
            container.mux(sound.encode(frame))
        for stream in (video, sound):
            if stream:
                container.mux(stream.encode(None))
    return path.read_bytes()


@pytest.mark.parametrize("form", [*SOUND, *BOTH])
def test_a_cut_is_seen(tmp_path: Path, form: str) -> None:
    path, name = tmp_path / "x", NAMES.get(form, form)
    whole = record(path, form)
    assert describe_cut(path, name) == ""
    with open_media(path) as media:
        assert media.duration > 0.9 and not any("cut short" in w.text for w in media.warnings)
    for share in (0.35, 0.5, 0.77, 0.9):
        block = int(share * len(whole)) // 2048  # packs of a program stream; 1001 is in a packet
        path.write_bytes(whole[: 2048 * block + 1001])
        assert describe_cut(path, name), share
    with open_media(path) as media:
        assert media.duration > 0
        assert [w.text for w in media.warnings if "cut short" in w.text]


def test_a_transport_stream_that_begins_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "x.ts"
    whole = record(path, "mpegts")
    path.write_bytes(whole[100:])
    assert describe_cut(path, "mpegts") == ""
    for start in range(0, 100, 33):
        path.write_bytes(whole[start:-1])
        assert describe_cut(path, "mpegts")
    coded = record(path, "mpegts", mpegts_m2ts_mode="1")  # packets of 192 bytes
    assert len(coded) % 192 == 0 and describe_cut(path, "mpegts") == ""
    path.write_bytes(coded[:-96])
    assert describe_cut(path, "mpegts")


def test_a_program_stream_may_have_an_end_code_or_padding(tmp_path: Path) -> None:
    path = tmp_path / "x.mpg"
    whole = record(path, "mpeg")
    for more in (b"\0\0\1\xb9", b"\0\0\1\xb9" + bytes(2000), bytes(1), bytes(2000)):
        path.write_bytes(whole + more)
        assert describe_cut(path, "mpeg") == "", more[:8]


def test_wav_sizes_that_say_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    whole = record(path, "wav")
    at = whole.index(b"data") + 4
    for size in (0, 0xFFFFFFFF, 0x7FFFF000, 0x80000000):  # of programs that write to a pipe
        path.write_bytes(whole[:at] + size.to_bytes(4, "little") + whole[at + 4 :])
        assert describe_cut(path, "wav") == "", hex(size)
    path.write_bytes(whole[:at] + (len(whole)).to_bytes(4, "little") + whole[at + 4 :])
    assert describe_cut(path, "wav") == ""  # counts the header, too
    path.write_bytes(whole[: at + 4])
    assert describe_cut(path, "wav") == "its header says that 96,000 more bytes follow"


def test_a_matroska_segment_of_unknown_size_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.mkv"
    live = record(path, "matroska", live="1")
    path.write_bytes(live[:-50_000])
    assert describe_cut(path, "matroska,webm") == ""
    whole = record(path, "matroska")
    path.write_bytes(whole[:-50_000])
    assert describe_cut(path, "matroska,webm") == "its header says that 50,000 more bytes follow"


def test_rf64_has_its_size_in_another_chunk(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    whole = record(path, "wav", rf64="always")
    assert whole.startswith(b"RF64") and describe_cut(path, "wav") == ""
    path.write_bytes(whole[:-50_000])
    assert describe_cut(path, "wav") == "its header says that 50,000 more bytes follow"


@pytest.mark.parametrize("name", ["wav", "w64", "caf", "avi", "matroska,webm", "mpeg", "mpegts"])
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    content=st.lists(
        st.sampled_from(
            [
                b"RIFF",
                b"data",
                b"ds64",
                b"\0\0\1\xba",
                b"\0\0\1\xe0",
                EBML,
                SEGMENT,
                b"\xff" * 8,
                b"\0" * 9,
                b"G",
            ]
        )
        | st.binary(max_size=40),
        max_size=30,
    ).map(b"".join)
)
def test_any_bytes_are_accepted(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    assert "\n" not in describe_cut(path, name)
