"""Recordings that are still being made: growing files, and the parts that are kept of them."""

from __future__ import annotations

import av
import numpy as np
import pytest
from support.clips import sound_of, tone, write_video, write_wav
from support.paths import ROOT

from pipeline.media.containers import MediaError
from pipeline.media.decode import RATE, open_media
from pipeline.media.feed import Feed
from pipeline.media.live import LEAD, Live

SECONDS = 12


@pytest.fixture(scope="module", params=["x.mkv", "x.ts", "x.wav"])
def recording(request, tmp_path_factory):
    """Tones whose pitch tells the second, and frames whose grey does."""
    path = tmp_path_factory.mktemp("live") / request.param
    sound = np.concatenate([tone(1, RATE, 300 + 100 * k) for k in range(SECONDS)])
    if path.suffix == ".wav":
        return write_wav(path, [sound], RATE)
    whole = write_video(path.with_suffix(".mkv"), [k / 10 for k in range(10 * SECONDS)], sound)
    if path.suffix == ".ts":
        with av.open(str(whole)) as source, av.open(str(path), "w") as out:
            video = out.add_stream("mpeg2video", rate=25)
            video.width, video.height, video.pix_fmt, video.gop_size = 64, 48, "yuv420p", 25
            audio = out.add_stream("aac", rate=RATE, layout="mono")
            for packet in source.demux():
                for frame in packet.decode():
                    if packet.stream.type == "video":
                        frame.pict_type = 0
                        out.mux(video.encode(frame.reformat(format="yuv420p")))
                    else:
                        out.mux(audio.encode(frame))
            out.mux(video.encode(None))
            out.mux(audio.encode(None))
    return path


def pitch(sound):
    spectrum = np.abs(np.fft.rfft(sound))
    return int(spectrum.argmax() * RATE / len(sound))


def test_parts_have_the_times_of_the_whole(recording, tmp_path):
    with Feed(recording, idle=0) as feed, Live(feed) as live:
        start, sizes = 0.0, []
        while not live.ended:
            live.advance(2.0)
            end = live.now - 0.4
            zero = live.write(tmp_path / "part.mkv", end)
            with open_media(tmp_path / "part.mkv") as part:
                for second in range(int(np.ceil(start)), int(end)):
                    sound = part.sound(second + 0.25 - zero, second + 0.75 - zero)
                    assert pitch(sound) == pytest.approx(300 + 100 * second, abs=20)
                    assert pitch(live.sound(second + 0.25, second + 0.75)) == pitch(sound)
                assert part.has_video == (recording.suffix != ".wav")
                assert part.duration < 6  # from the key frame to the end
            sizes.append(live._bytes)
            start = end
            live.cut(start)
            assert len(live.sound(0, live.now)) <= (live.now - start + LEAD) * RATE + 1
        assert live.now == pytest.approx(SECONDS, abs=0.2)
        assert max(sizes[3:]) <= 1.5 * max(sizes[:3])  # nothing is kept of the past


def test_a_growing_file_is_read_to_its_end(tmp_path, monkeypatch):
    whole = write_wav(tmp_path / "whole.wav", [tone(2, RATE)], RATE).read_bytes()
    path = tmp_path / "growing.wav"
    path.write_bytes(whole[:8000])
    waits = []

    def grow(seconds):
        """The file grows while merc waits, four times."""
        size = path.stat().st_size
        waits.append(seconds)
        with path.open("ab") as file:
            file.write(whole[size : size + 16_000])

    monkeypatch.setattr("pipeline.media.feed.time.sleep", grow)
    with Feed(path, idle=1) as feed, Live(feed) as live:
        live.advance(60)
        assert live.ended and live.now == pytest.approx(2.0, abs=0.01)
    assert len(waits) == 4 + 5  # a second without growth at the end


def test_what_cannot_be_followed_is_said(tmp_path):
    example = ROOT / "examples" / "dialogue.mp4"
    with Feed(example, idle=0) as feed, Live(feed) as live:  # complete: its index is at its end
        live.advance(1.0)
        assert live.now >= 1
    growing = tmp_path / "growing.mp4"
    growing.write_bytes(example.read_bytes()[:100_000])
    with Feed(growing, idle=0) as feed, pytest.raises(MediaError, match="while it grows"):
        Live(feed)
    silent = write_video(tmp_path / "silent.mkv", [0.0, 0.1])
    with Feed(silent, idle=0) as feed, pytest.raises(MediaError, match="no sound"):
        Live(feed)
    with pytest.raises(MediaError, match="no such file"):
        Feed(tmp_path / "missing.wav")
    text = tmp_path / "x.wav"
    text.write_text("not a recording" * 100)
    with Feed(text, idle=0) as feed, pytest.raises(MediaError, match="cannot be read"):
        Live(feed)


def write_tracks(path, tracks, picture=0.0):
    """Write mono tracks, each [(time at which it starts, (n,) samples)], and a picture."""
    packets = []
    with av.open(str(path), "w") as out:
        for pieces in tracks:
            audio = out.add_stream("flac", rate=RATE, layout="mono")
            for at, samples in pieces:
                for first in range(0, len(samples) - 1023, 1024):
                    values = (samples[None, first : first + 1024] * 32767).astype(np.int16)
                    frame = av.AudioFrame.from_ndarray(values, "s16", "mono")
                    frame.sample_rate, frame.pts = RATE, first + round(at * RATE)
                    packets += audio.encode(frame)
            packets += audio.encode(None)
        if picture:
            video = out.add_stream("mpeg4", rate=25)
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
            for _ in range(round(25 * picture)):
                packets += video.encode(av.VideoFrame(64, 48, "yuv420p"))
            packets += video.encode(None)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            out.mux(packet)
    return path


def heard(path):
    """Read a recording live, and forget as it goes on; return its sound and the warnings."""
    pieces = []
    with Feed(path, idle=0) as feed, Live(feed) as live:
        while not live.ended:
            start = live.now
            live.advance(0.5)
            pieces.append(live.sound(start, live.now))
            live.cut(live.now - 1)
        return np.concatenate(pieces), live.warnings


def make_tracks(name, folder, voice):
    after = [(0.0, voice), (12.0, voice)]
    files = {
        "sound joins": lambda: write_tracks(folder / "a.mkv", [[(12.0, voice)]], picture=16),
        "sound pauses": lambda: write_tracks(folder / "b.mkv", [after], picture=16),
        "nothing but a pause": lambda: write_tracks(folder / "c.mka", [after]),
        "the picture ends": lambda: write_tracks(folder / "d.mkv", [[(9.0, voice)]], picture=2),
        "a second microphone": lambda: write_tracks(
            folder / "e.mkv", [[(0.0, 0 * voice)], [(0.0, voice)]], picture=3
        ),
        "inverted": lambda: write_wav(folder / "f.wav", [voice, -voice], RATE),
    }
    return files[name]()


CHANGED = {
    "cat.mkv": "its clock restarts or jumps",
    "cat_3_6.ts": "its clock restarts or jumps",
    "chained.opus": "its clock restarts or jumps",
    "neg.ts": "",
    "inverted": "channel 2 inverted",
    "a second microphone": "only stream 1 has sound",
    "sound joins": "",
    "sound pauses": "",
    "nothing but a pause": "",
    "the picture ends": "",
}


@pytest.mark.parametrize("name", CHANGED)
def test_sound_and_its_times_are_those_of_the_complete_recording(name, shared, tmp_path):
    path = shared / "cases" / "media" / name
    if "." not in name:
        path = make_tracks(name, tmp_path, sound_of(shared / "media" / "grid" / "bbaf2n.mpg"))
    live, warnings = heard(path)
    with open_media(path) as media:
        whole = media.sound()
    assert abs(len(live) - len(whole)) < 0.05 * RATE
    # second by second: nothing is late by more than a frame of the picture
    for first in range(RATE, len(whole) - RATE, RATE):
        part = whole[first : first + RATE]
        if part.std() < 0.003:
            continue
        around = live[first - 800 : first + RATE + 800]
        scores = np.correlate(around, part, "valid")
        lag = int(scores.argmax()) - 800
        assert abs(lag) <= 0.045 * RATE
        same = live[first + lag : first + lag + RATE]
        assert np.corrcoef(same, part)[0, 1] > 0.98 and same.std() == pytest.approx(
            part.std(), rel=0.05
        )
    # one warning, and only if there is something to say
    assert len(warnings) == bool(CHANGED[name])
    assert all(CHANGED[name] in warning for warning in warnings)


@pytest.mark.parametrize("name", ["cat.mkv", "cat_3_6.ts"])
def test_the_picture_goes_on_with_the_sound_when_the_clock_restarts(name, shared, tmp_path):
    path, part = shared / "cases" / "media" / name, tmp_path / "part.mkv"
    with Feed(path, idle=0) as feed, Live(feed) as live:
        live.advance(60)
        zero = live.write(part, live.now)
    with open_media(path) as whole, open_media(part) as media:
        times = np.array([time for time, _ in media.frames(25)]) + zero
        expected = np.array([time for time, _ in whole.frames(25)])
        assert len(times) == pytest.approx(len(expected), abs=2) and (np.diff(times) > 0).all()
        assert times[-1] == pytest.approx(expected[-1], abs=0.1)
        assert not media.warnings


def test_an_old_picture_is_not_shown_after_a_pause(tmp_path):
    voice = tone(30, RATE)
    path = write_tracks(tmp_path / "x.mkv", [[(0.0, voice)]], picture=2)
    with Feed(path, idle=0) as feed, Live(feed) as live:
        for now in (6.0, 24.0):
            live.advance(now - live.now)
            live.cut(now - 1)
            zero = live.write(tmp_path / "part.mkv", now)
            with open_media(tmp_path / "part.mkv") as part:
                assert part.sound(now - 0.9 - zero, now - zero).std() > 0.3
                # no gap in a part is one of the recording
                assert not part.warnings and part.has_video == (now < 10)


def test_pictures_that_matroska_cannot_hold_are_followed(tmp_path):
    path, voice = tmp_path / "x.flv", tone(3, RATE)
    with av.open(str(path), "w") as out:
        video, audio = out.add_stream("flv", rate=25), out.add_stream("pcm_s16le", rate=44_100)
        video.width, video.height, video.pix_fmt, audio.layout = 64, 48, "yuv420p", "mono"
        for k in range(75):
            out.mux(video.encode(av.VideoFrame(64, 48, "yuv420p")))
            values = (tone(0.04, 44_100)[None] * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(values, "s16", "mono")
            frame.sample_rate, frame.pts = 44_100, 1764 * k
            out.mux(audio.encode(frame))
        out.mux(video.encode(None))
    with Feed(path, idle=0) as feed, Live(feed) as live:
        live.advance(60)
        live.write(tmp_path / "part.mkv", live.now)
        assert not live.warnings
    with open_media(tmp_path / "part.mkv") as part:
        assert len(list(part.frames(25))) == pytest.approx(75, abs=2)
        assert part.duration == pytest.approx(len(voice) / RATE, abs=0.1)


@pytest.mark.parametrize("change", ["shorter", "deleted", "none"])
def test_a_file_that_is_lost_is_said(change, tmp_path, monkeypatch):
    path = write_wav(tmp_path / "x.wav", [tone(2, RATE)], RATE)

    def spoil(seconds):
        """Something happens to the file while merc waits for more."""
        if change == "shorter":
            path.write_bytes(path.read_bytes()[:5000])
        elif change == "deleted":
            path.unlink(missing_ok=True)

    monkeypatch.setattr("pipeline.media.feed.time.sleep", spoil)
    with Feed(path, idle=1) as feed, Live(feed) as live:
        live.advance(60)
        assert live.ended and live.now == pytest.approx(2.0, abs=0.01)
        assert (change in feed.problem) if change != "none" else not feed.problem


def test_an_interrupt_while_the_feed_waits_is_not_lost(tmp_path, monkeypatch):
    """libav calls `read` from C, where exceptions are printed and forgotten."""
    path = write_wav(tmp_path / "x.wav", [tone(60, RATE)], RATE)

    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.media.feed.time.sleep", interrupt)
    with Feed(path, idle=1) as feed, Live(feed) as live, pytest.raises(KeyboardInterrupt):
        live.advance(90)
    short = tmp_path / "y.wav"
    short.write_bytes(path.read_bytes()[:40])
    with Feed(short, idle=1) as feed, pytest.raises(KeyboardInterrupt):
        Live(feed)  # libav does not even know the format yet


def test_a_pipe_without_anything_is_said(monkeypatch, tmp_path):
    (tmp_path / "x").touch()
    with (tmp_path / "x").open("rb") as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        with Feed("-") as feed, pytest.raises(MediaError, match="ended before anything came"):
            Live(feed)
