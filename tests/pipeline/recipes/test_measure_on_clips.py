"""Helpers of the measurements on clips: GRID's file names, other encodings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import MercError
from pipeline.media.decode import open_media
from pipeline.recipes.measure_on_clips import grid_sentence, reencode


@pytest.mark.parametrize(
    ("stem", "sentence"),
    [
        ("bbaf2n", "bin blue at f two now"),
        ("s1_pwwz9a", "place white with z nine again"),
        ("swizzp", "set white in z zero please"),
    ],
)
def test_sentences_of_grid(stem: str, sentence: str):
    assert grid_sentence(stem) == sentence


@pytest.mark.parametrize("stem", ["", "bbaf2", "xbaf2n", "bba12n"])
def test_other_names_are_refused(stem: str):
    with pytest.raises(MercError, match="GRID file name"):
        grid_sentence(stem)


def test_reencode_changes_height_and_level(shared: Path, tmp_path: Path):
    source = shared / "media" / "grid" / "bbaf2n.mpg"
    target = tmp_path / "small.mp4"
    reencode(source, target, height=120, crf=23, decibels=-12.0, snr=None)
    with open_media(source) as old, open_media(target) as new:
        assert next(new.frames())[1].shape[0] == 120
        levels = [np.sqrt(np.mean(np.square(media.sound()))) for media in (old, new)]
        assert 20 * np.log10(levels[1] / levels[0]) == pytest.approx(-12, abs=0.5)
        assert new.duration == pytest.approx(old.duration, abs=0.1)
