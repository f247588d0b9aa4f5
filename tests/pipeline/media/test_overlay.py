"""Annotated videos: times, sound, size and rotation of the recording stay; captions are drawn."""

from __future__ import annotations

import av
import numpy as np
import pytest
from support.clips import tone, write_video, write_wav

from pipeline.core.errors import MercError
from pipeline.media.captions import Caption, Painter, box_at
from pipeline.media.decode import open_media
from pipeline.media.fonts import undrawable
from pipeline.media.overlay import write_overlay

VARIABLE = [0.0, 0.033, 0.1, 0.5, 0.54, 1.2, 1.25, 2.0, 2.04]  # s


def overlay(recording, captions=()):
    path = recording.with_suffix(".merc.mp4")
    done = []
    with open_media(recording) as media:
        write_overlay(media, captions, path, done.append)
    assert all(0 <= share <= 1 for share in done)
    return path


def frames(path):
    with av.open(str(path)) as container:
        return [(f.time, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]


def sound(path):
    with av.open(str(path)) as container:
        first, parts = None, []
        for frame in container.decode(audio=0):
            first = frame.time if first is None else first
            parts.append(frame.to_ndarray().mean(0))
        return first, np.concatenate(parts), frame.sample_rate


def test_frames_keep_their_times_and_pictures(tmp_path):
    path = write_video(tmp_path / "x.mkv", VARIABLE, size=(65, 49))  # H.264 takes even sizes
    made = frames(overlay(path))
    assert [time for time, _ in made] == pytest.approx(VARIABLE, abs=0.002)
    for (_, one), (_, other) in zip(frames(path), made, strict=True):
        assert other.shape == (48, 64, 3)
        assert abs(one.mean() - other.mean()) < 4


def test_a_constant_rate_stays(tmp_path):
    path = write_video(tmp_path / "x.mkv", [k / 25 for k in range(50)])
    with av.open(str(overlay(path))) as container:
        assert container.streams.video[0].average_rate == 25
        assert container.duration == pytest.approx(2_000_000, abs=20_000)
        assert not container.streams.audio


def test_sound_stays_in_place(tmp_path):
    """A tone that starts late in FLAC, which becomes AAC; silence before it."""
    path = write_video(
        tmp_path / "x.mkv", [k / 10 for k in range(30)], tone(1.5, 16_000), sound_at=1.0
    )
    copy = overlay(path)
    first, samples, rate = sound(copy)
    power = np.square(samples)
    loud = np.flatnonzero(power > 0.01)
    assert first + loud[0] / rate == pytest.approx(1.0, abs=0.05)
    assert first + loud[-1] / rate == pytest.approx(2.5, abs=0.05)
    # AAC is copied: the same packets
    again = overlay(copy)
    with av.open(str(copy)) as one, av.open(str(again)) as other:
        packets = [[bytes(p) for p in c.demux(audio=0) if p.size] for c in (one, other)]
    assert packets[0] == packets[1]
    assert sound(again)[0] == pytest.approx(first, abs=0.002)


def test_a_turned_picture_becomes_upright(tmp_path):
    path = tmp_path / "x.mp4"
    with av.open(str(path), "w") as out:  # white above, black below
        stream = out.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        image = np.zeros((48, 64, 3), np.uint8)
        image[:24] = 255
        for _ in range(3):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        out.mux(stream.encode(None))
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # the display matrix in the header: 90°
    for k, value in enumerate((0, 1, 0, -1, 0)):
        data[at + 4 * k : at + 4 * k + 4] = (value << 16).to_bytes(4, "big", signed=True)
    path.write_bytes(data)
    with open_media(path) as opened:
        _, upright = next(opened.frames())
    (_, made), *rest = frames(overlay(path))
    assert len(rest) == 2 and made.shape == upright.shape == (64, 48, 3)
    assert np.abs(made.astype(int) - upright).mean() < 4
    assert made[:, -16:].mean() > 200 and made[:, :16].mean() < 50  # white is on the right


def test_sound_alone_has_no_overlay(tmp_path):
    path = write_wav(tmp_path / "x.wav", [tone(1, 16_000)], 16_000)
    with pytest.raises(MercError, match="no picture"):
        overlay(path)


@pytest.mark.parametrize("size", [(640, 360), (3840, 2160), (1080, 1920), (64, 48), (16, 16)])
def test_captions_are_readable_at_any_size(size):
    text = "I got the job, I start on Monday, and I am so happy that I could sing. " * 2
    caption = Caption(1, 5, "Ann", "joy 90%", text, (240, 228, 66), boxes=[(2, 0.1, 0.1, 0.2, 0.2)])
    painter = Painter([caption], *size)
    image = np.full((size[1], size[0], 3), 128, np.uint8)

    def painted(time):
        drawn = image.copy()
        painter.paint(drawn, time)
        return drawn

    assert (painted(0.5) == image).all()
    early, late = painted(2.0), painted(4.9)
    if min(size) > 100:
        assert 0.04 < painter.size / min(size[1], 0.75 * size[0]) < 0.06
        assert (early[: size[1] // 2] != image[: size[1] // 2]).any()  # the box
        assert (late[: size[1] // 2] == image[: size[1] // 2]).all()
        bottom = early[-size[1] // 4 :]
        assert (bottom == 255).any() and bottom.mean() < 120
        assert (early[-size[1] // 4 :] != late[-size[1] // 4 :]).any()  # the next page
    assert (painted(5.0) == image).all()


def test_long_words_and_texts_without_spaces_are_drawn_completely():
    painter = Painter([], 300, 200)
    for text in ("x" * 400, "词" * 100, "a " + "y" * 90 + " b", ""):
        pages = painter._pages(Caption(0, 1, "", "", text))
        assert "".join("".join(pages).split()) == "".join(text.split())


def test_boxes_move_but_do_not_fly_through_cuts():
    boxes = [(1.0, 0.1, 0.1, 0.2, 0.2), (1.5, 0.12, 0.1, 0.2, 0.2), (2.0, 0.7, 0.1, 0.2, 0.2)]
    assert box_at(boxes, 1.25)[0] == pytest.approx(0.11)
    assert box_at(boxes, 1.7)[0] == 0.12 and box_at(boxes, 1.8)[0] == 0.7
    assert box_at(boxes, 0.5) is None and box_at(boxes, 2.5) is None
    assert box_at(boxes, 0.8) == boxes[0][1:] and box_at(boxes, 2.2) == boxes[2][1:]
    assert box_at([boxes[0], (2.1, *boxes[2][1:])], 1.6) is None  # it was not seen for so long
    assert box_at([], 1.0) is None


def test_characters_without_a_font_are_known():
    assert undrawable("Größe, naïve, Привет") == ""
    assert undrawable("a\U0010fffd") == "\U0010fffd"
