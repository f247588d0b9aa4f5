"""Voices of GRID, whose speakers the voice space never heard: two clips are of one man, the others of nine people."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from pipeline.media import open_media
from pipeline.speakers import assign_speakers, voice_frames
from pipeline.voice_space import directions, fit, statistics


@pytest.fixture(scope="module")
def voices(media: Path) -> dict[str, np.ndarray]:
    frames = {}
    for clip in sorted((media / "grid").glob("*.mpg")):
        with open_media(clip) as medium:
            frames[clip.stem] = voice_frames(medium, 0.5, 2.2)
    return frames


def test_one_man_stays_one_and_most_pairs_part(voices: dict[str, np.ndarray]) -> None:
    one_man = {"id2_vcd_swwp2s", "pwij3p"}
    parted = [len(set(assign_speakers([voices[a], voices[b]]))) == 2
              for a, b in combinations(voices, 2) if {a, b} != one_man]
    assert assign_speakers([voices[name] for name in sorted(one_man)]) == [0, 0]
    assert np.mean(parted) > 0.5


def test_asked_for_two_the_turns_of_two_people_are_told_apart(voices: dict[str, np.ndarray]) -> None:
    """Each clip cut in halves: a, b, a, b."""
    right = []
    for a, b in combinations([name for name in voices if name != "pwij3p"], 2):
        halves = [half for pair in zip(*(np.array_split(voices[n], 2) for n in (a, b)), strict=True) for half in pair]
        right.append(assign_speakers(halves, 2) == [0, 1, 0, 1])
    assert np.mean(right) > 0.7


def test_the_order_of_turns_only_renumbers(voices: dict[str, np.ndarray]) -> None:
    turns = list(voices.values())
    there, back = assign_speakers(turns), assign_speakers(turns[::-1])[::-1]
    assert all((there[i] == there[j]) == (back[i] == back[j]) for i, j in combinations(range(len(turns)), 2))


def test_the_voice_space_finds_planted_directions() -> None:
    """Speakers that differ in seven known directions, with loud noise elsewhere."""
    rng = np.random.default_rng(0)
    speakers = np.repeat(np.arange(12), 40)
    rows = rng.standard_normal((480, 40)) * np.where(np.arange(40) < 7, 0.3, 5.0)
    rows[:, :7] += rng.standard_normal((12, 7))[speakers]
    found = fit(rows, speakers)
    assert found.shape == directions().shape == (40, 7)
    assert np.square(found[:7]).sum() > 0.95 * np.square(found).sum()
    with pytest.raises(ValueError, match="too few"):
        fit(rows, speakers % 5)
    assert statistics(rng.standard_normal((50, 20))).shape == (40,)
