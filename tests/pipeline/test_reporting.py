"""Pages of real recordings: their sound, their faces, their links."""

from __future__ import annotations

import base64
import re
import shutil

import cv2
import numpy as np
import pytest
from support.clips import write_video
from support.paths import ROOT
from support.results import result

from pipeline.core.errors import MercError
from pipeline.media.decode import RATE, open_media
from pipeline.media.pictures import face_pictures, loudness
from pipeline.reporting import (
    captions_of,
    overlay_warnings,
    write_index,
    write_overlay,
    write_page,
)

EXAMPLE = ROOT / "examples" / "dialogue.mp4"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def content(boxes=((0.5, 0.15, 0.2, 0.2, 0.4),)):
    made = result([(0.25, 1.0, "Ann", "Hi"), (1.5, 2.0, "Ben", "No")])
    made["utterances"][0]["modalities"]["visual"] = {"present": True, "boxes": list(boxes)}
    return made


def test_loudness_is_the_peak_of_each_part():
    with open_media(EXAMPLE) as media:
        peaks, sound = loudness(media), np.abs(media.sound())
        duration = media.duration
    assert len(peaks) == round(50 * duration) and peaks.max() == 1 and peaks.min() >= 0
    part = duration / len(peaks)
    for k in (0, 300, len(peaks) // 2):
        own = sound[round(k * part * RATE) + 1 : round((k + 1) * part * RATE) - 1]
        assert peaks[k] >= own.max() / sound.max() - 1e-6


def test_a_face_is_cut_from_the_frame_at_its_time():
    with open_media(EXAMPLE) as media:
        one, none = face_pictures(media, content()["utterances"])
        [other, _] = face_pictures(media, content([(0.5, 0.9, 0.9, 0.3, 0.3)])["utterances"])
    assert none is None
    picture = cv2.imdecode(np.frombuffer(one, np.uint8), cv2.IMREAD_COLOR)
    assert max(picture.shape) == 96
    with open_media(EXAMPLE) as media:
        frame = next(image for time, image in media.frames() if time >= 0.499)
    high, wide = frame.shape[:2]
    middle = frame[round(0.4 * high), round(0.25 * wide)].astype(int)
    shown = picture[picture.shape[0] // 2, picture.shape[1] // 2, ::-1].astype(int)
    assert np.abs(middle - shown).max() < 40
    assert other  # a box that reaches over the edge of the picture


def test_page_and_index(tmp_path):
    video = tmp_path / "v" / "my talk.mp4"
    video.parent.mkdir()
    shutil.copy(EXAMPLE, video)
    base = tmp_path / "out" / "my talk"
    path = write_page(content(), video, base, index="../index.merc.html")
    text = path.read_text("utf-8")
    assert path.name == "my talk.merc.html"
    assert 'src="../v/my%20talk.mp4"' in text and 'href="../index.merc.html"' in text
    index = write_index(tmp_path, [(path, content())])
    assert 'href="out/my%20talk.merc.html#1"' in index.read_text("utf-8")
    # the same page again, then the recording in the page
    assert write_page(content(), video, base, index="../index.merc.html").read_text() == text
    embedded = write_page(content(), video, base, embed=True).read_text("utf-8")
    (data,) = re.findall(r'src="data:video/mp4;base64,([^"]*)"', embedded)
    assert base64.b64decode(data) == video.read_bytes()
    path.write_text("my own notes")
    with pytest.raises(MercError, match="was not written by merc"):
        write_page(content(), video, base)
    assert path.read_text() == "my own notes"


def test_an_overlay_is_written_whole_or_not_at_all(tmp_path):
    video = write_video(tmp_path / "x.mkv", [k / 10 for k in range(15)])
    base, stages = tmp_path / "out" / "x", []
    path = write_overlay(content(), video, base, stage=lambda name, done=None: stages.append(name))
    assert path.name == "x.merc.mp4" and set(stages) <= {"overlay"}
    with open_media(path) as media:
        assert media.duration == pytest.approx(1.5, abs=0.1)
    assert write_overlay(content(), video, base) == path  # its own file is replaced
    path.write_bytes(b"my own video")
    with pytest.raises(MercError, match="was not written by merc"):
        write_overlay(content(), video, base)
    with pytest.raises(MercError):
        write_overlay(content(), ROOT / "LICENSE", base, overwrite=True)
    assert path.read_bytes() == b"my own video"
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # nothing temporary stays


def test_captions_say_what_the_result_says():
    made = content() | {"picture": True}
    made["utterances"][0] |= {"uncertain": True, "confidence": None, "text": "Hi\x1b[2J\nyou"}
    made["utterances"][1]["modalities"]["visual"] = {"boxes": [], "confidence": 0.25}
    first, second = captions_of(made)
    assert (first.name, first.label, first.text) == ("Ann", "uncertain", "Hi[2J you")
    assert second.label == "joy 33%" and second.doubtful and not first.doubtful
    assert first.boxes and not second.boxes
    assert overlay_warnings(made) == []
    made["utterances"][1]["text"] = "a\U0010fffd"
    assert "1 character" in overlay_warnings(made)[0]
    assert "no picture" in overlay_warnings(made | {"picture": False})[0]
