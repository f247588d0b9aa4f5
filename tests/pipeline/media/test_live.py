"""Recordings that are still being made: growing files, and the parts that are kept of them."""

from __future__ import annotations

import av
import numpy as np
import pytest
from support.clips import tone, write_video, write_wav
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


def test_a_clock_that_restarts_goes_on(tmp_path):
    path = write_wav(tmp_path / "x.wav", [tone(1, RATE)], RATE)
    with Feed(path, idle=0) as feed, Live(feed) as live:
        assert [live._place(t) for t in (5.0, 6.0)] == [0.0, 1.0]
        # nothing was heard yet, so now is 0
        assert [live._place(t) for t in (5000.0, 5001.0, 3.0)] == [0.0, 1.0, 0.0]
