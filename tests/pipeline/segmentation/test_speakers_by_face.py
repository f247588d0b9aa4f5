"""Faces decide who says what is too short for a voice, or leave it to voices."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from material import join

from pipeline.core.dialogue import Utterance
from pipeline.media.decode import Media, open_media
from pipeline.segmentation.segment import segment
from pipeline.segmentation.speakers_by_face import by_faces

LONG = [Utterance(3 * k + 0.4, 3 * k + 2.4, "bin blue at f two now") for k in range(4)]
UTTERANCES = [*LONG, Utterance(12.8, 13.4, "at f"), Utterance(15.8, 16.4, "with q")]
BRIEF = [False] * 4 + [True] * 2


@pytest.fixture(scope="module")
def recording(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six clips of 3 s: two people in turn."""
    pair = [media / "grid" / f"{name}.mpg" for name in ("bbaf2n", "brbk7n")]
    return join(pair, tmp_path_factory.mktemp("faces") / "faces.mp4", 18)


@pytest.fixture(scope="module")
def opened(recording: Path) -> Iterator[Media]:
    with open_media(recording) as media:
        yield media


@pytest.mark.parametrize("by_voice", [(1, 0), (0, 0), (-1, -1), (0, 1)])
def test_brief_utterances_go_to_the_speaking_face(opened: Media, by_voice: tuple[int, int]) -> None:
    numbers, changed = by_faces(opened, UTTERANCES, [0, 1, 0, 1, *by_voice], BRIEF)
    assert numbers == [0, 1, 0, 1, 0, 1]
    assert changed == sum(a != b for a, b in zip(by_voice, (0, 1), strict=True))


@pytest.mark.parametrize("voices", [[0, 1, 1, 0], [0, 0, 1, 1], [0, 0, 0, 0], [0, 1, 2, 3]])
def test_faces_that_contradict_voices_decide_nothing(opened: Media, voices: list[int]) -> None:
    numbers = [*voices, 1, 0]
    assert by_faces(opened, UTTERANCES, numbers, BRIEF) == (numbers, 0)


def test_voices_decide_if_a_speaker_is_never_shown(opened: Media) -> None:
    unseen = list(UTTERANCES)
    for k in (1, 3):
        unseen[k] = replace(unseen[k], start=unseen[k].start + 60, end=unseen[k].end + 60)
    assert by_faces(opened, unseen, [0, 1, 0, 1, 1, 0], BRIEF) == ([0, 1, 0, 1, 1, 0], 0)


def test_voices_decide_without_video(media: Path) -> None:
    with open_media(media / "jfk.flac") as sound:
        assert by_faces(sound, UTTERANCES, [0, 1, 0, 1, 1, 0], BRIEF) == ([0, 1, 0, 1, 1, 0], 0)


def test_a_transcript_without_speakers_gets_them(recording: Path) -> None:
    rows = "".join(f"{u.start},{u.end},{u.text}\n" for u in UTTERANCES)
    recording.with_suffix(".csv").write_text("start,end,text\n" + rows)
    with open_media(recording) as media:
        segmentation = segment(media)
    assert [u.speaker for u in segmentation.utterances] == ["S1", "S2"] * 3
    method = segmentation.source["speakers"]
    assert method["faces"]["detector"]["name"] and method["approximate"]
    assert any("speakers are approximate" in warning.text for warning in segmentation.warnings)
    assert [replace(u, speaker="") for u in segmentation.utterances] == UTTERANCES


def test_a_picture_recognises_the_face_at_half_the_brightness_and_size(recording: Path) -> None:
    from extractors.visual import VisualExtractor

    with open_media(recording) as opened:
        frames = [(time, image) for time, image in opened.frames() if time < 5.4]
    one, other = VisualExtractor().read(frames, [(0.4, 2.4), (3.4, 5.4)])
    darker = [(time, image[::2, ::2] // 2) for time, image in frames]
    (dim,) = VisualExtractor().read(darker, [(0.4, 2.4)])
    assert np.linalg.norm(one.picture) == pytest.approx(1, abs=1e-5)
    assert abs(one.picture.mean()) < 1e-6
    assert dim.picture @ one.picture > 0.8 > 0.7 > dim.picture @ other.picture
