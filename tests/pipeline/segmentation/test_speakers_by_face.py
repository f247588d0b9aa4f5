"""Faces tell who says what is too short for a voice, in a film of real clips cut against each other; or stay out."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.paths import ROOT

from pipeline.core.dialogue import Utterance
from pipeline.media.decode import Media, open_media
from pipeline.segmentation.segment import segment
from pipeline.segmentation.speakers_by_face import by_faces

SAID = [Utterance(3 * k + 0.4, 3 * k + 2.4, "bin blue at f two now") for k in range(4)] + [
    Utterance(12.8, 13.4, "at f"),
    Utterance(15.8, 16.4, "with q"),
]
BRIEF = [False] * 4 + [True] * 2


@pytest.fixture(scope="module")
def film(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six clips of 3 s: two people in turn."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from material import join

    pair = [media / "grid" / f"{name}.mpg" for name in ("bbaf2n", "brbk7n")]
    return join(pair, tmp_path_factory.mktemp("film") / "film.mp4", 18)


@pytest.fixture(scope="module")
def opened(film: Path) -> Iterator[Media]:
    with open_media(film) as media:
        yield media


@pytest.mark.parametrize("guessed", [(1, 0), (0, 0), (-1, -1), (0, 1)])
def test_brief_words_go_to_the_face_that_says_them(opened: Media, guessed: tuple[int, int]) -> None:
    told, changed = by_faces(opened, SAID, [0, 1, 0, 1, *guessed], BRIEF)
    assert told == [0, 1, 0, 1, 0, 1]
    assert changed == sum(a != b for a, b in zip(guessed, (0, 1), strict=True))


@pytest.mark.parametrize("voices", [[0, 1, 1, 0], [0, 0, 1, 1], [0, 0, 0, 0], [0, 1, 2, 3]])
def test_faces_that_do_not_go_with_voices_decide_nothing(opened: Media, voices: list[int]) -> None:
    assert by_faces(opened, SAID, [*voices, 1, 0], BRIEF) == ([*voices, 1, 0], 0)


def test_a_speaker_who_is_never_shown_leaves_it_to_voices(opened: Media) -> None:
    unseen = [
        replace(u, start=u.start + 60, end=u.end + 60) if k in (1, 3) else u
        for k, u in enumerate(SAID)
    ]
    assert by_faces(opened, unseen, [0, 1, 0, 1, 1, 0], BRIEF) == ([0, 1, 0, 1, 1, 0], 0)


def test_without_pictures_voices_decide(media: Path) -> None:
    with open_media(media / "jfk.flac") as sound:
        assert by_faces(sound, SAID, [0, 1, 0, 1, 1, 0], BRIEF) == ([0, 1, 0, 1, 1, 0], 0)


def test_a_transcript_without_speakers_gets_them(film: Path) -> None:
    rows = "".join(f"{u.start},{u.end},{u.text}\n" for u in SAID)
    film.with_suffix(".csv").write_text("start,end,text\n" + rows)
    with open_media(film) as media:
        found = segment(media)
    assert [u.speaker for u in found.utterances] == ["S1", "S2"] * 3
    assert (
        found.source["speakers"]["faces"]["detector"]["name"]
        and found.source["speakers"]["approximate"]
    )
    assert any("speakers are approximate" in warning for warning in found.warnings)
    assert [replace(u, speaker="") for u in found.utterances] == SAID


def test_a_picture_knows_the_face_in_half_the_light_and_size(film: Path) -> None:
    from extractors.visual import VisualExtractor

    with open_media(film) as medium:
        frames = [(time, image) for time, image in medium.frames() if time < 5.4]
    one, other = VisualExtractor().read(frames, [(0.4, 2.4), (3.4, 5.4)])
    (dim,) = VisualExtractor().read(
        [(time, image[::2, ::2] // 2) for time, image in frames], [(0.4, 2.4)]
    )
    assert (
        np.linalg.norm(one.picture) == pytest.approx(1, abs=1e-5) and abs(one.picture.mean()) < 1e-6
    )
    assert dim.picture @ one.picture > 0.8 > 0.7 > dim.picture @ other.picture
