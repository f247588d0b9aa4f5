"""Voices of GRID and of a real conversation, which neither the encoder's whitening nor its network ever heard; two of
the GRID clips are of one man, the others of nine people."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from extractors.voice import load_voice, voiced
from pipeline.core.dialogue import Utterance
from pipeline.media.decode import open_media
from pipeline.recipes.voice_encoder import whitening
from pipeline.segmentation.speakers_by_voice import assign_speakers, voices

ONE_MAN = {"id2_vcd_swwp2s", "pwij3p"}


@pytest.fixture(scope="module")
def heard(media: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Of each clip: vectors and seconds of the whole (row 0) and of its halves."""
    found = {}
    for clip in sorted((media / "grid").glob("*.mpg")):
        with open_media(clip) as medium:
            found[clip.stem] = voices(
                medium,
                [Utterance(0.4, 2.3, "x"), Utterance(0.4, 1.35, "x"), Utterance(1.35, 2.3, "x")],
            )
    return found


def test_one_man_stays_one_and_most_pairs_part(
    heard: dict[str, tuple[np.ndarray, np.ndarray]],
) -> None:
    def speakers(*names: str) -> list[int]:
        return assign_speakers(
            np.stack([heard[n][0][0] for n in names]), np.array([heard[n][1][0] for n in names])
        )

    parted = [len(set(speakers(a, b))) == 2 for a, b in combinations(heard, 2) if {a, b} != ONE_MAN]
    assert speakers(*sorted(ONE_MAN)) == [0, 0]
    assert np.mean(parted) > 0.75
    assert 5 <= len(set(speakers(*heard))) <= 10


def test_asked_for_two_the_turns_of_two_people_are_told_apart(
    heard: dict[str, tuple[np.ndarray, np.ndarray]],
) -> None:
    """Each clip cut in halves of a second: a, b, a, b."""
    right = [
        assign_speakers(
            np.stack([heard[n][0][k] for k in (1, 2) for n in pair]), np.full(4, 0.95), 2
        )
        == [0, 1, 0, 1]
        for pair in combinations(heard, 2)
        if set(pair) != ONE_MAN
    ]
    assert np.mean(right) > 0.6


def test_a_real_conversation_is_of_two_people(media: Path) -> None:
    """Of its reference turns, which overlap, at least 80 % of the time gets the right one of two speakers."""
    rows = [line.split() for line in (media / "turns" / "sample.rttm").read_text().splitlines()]
    turns = [Utterance(float(r[3]), float(r[3]) + float(r[4]), "x", r[7]) for r in rows]
    with open_media(media / "turns" / "sample.wav") as medium:
        vectors, seconds = voices(medium, turns)
    first = np.array([turn.speaker == turns[0].speaker for turn in turns])
    found = np.array(assign_speakers(vectors, seconds, 2))
    same = seconds[(found == 0) == first].sum() / seconds.sum()
    assert max(same, 1 - same) > 0.8


def test_the_order_of_utterances_only_renumbers(
    heard: dict[str, tuple[np.ndarray, np.ndarray]],
) -> None:
    rows, seconds = (np.stack([found[k][0] for found in heard.values()]) for k in (0, 1))
    there = assign_speakers(rows, seconds)
    back = assign_speakers(rows[::-1], seconds[::-1])[::-1]
    assert all(
        (there[i] == there[j]) == (back[i] == back[j]) for i, j in combinations(range(len(rows)), 2)
    )


def test_a_voice_is_itself_quieter_with_pauses_and_in_company(media: Path) -> None:
    with open_media(media / "jfk.flac") as medium:
        sound, other = medium.sound(5.4, 8.0), medium.sound(0.3, 2.2)
    encoder = load_voice()
    vector = encoder.vectors([sound])[0]
    together = encoder.vectors([other, 0.25 * sound])
    assert np.square(together[1] - vector).mean() < 1e-3 < np.square(together[0] - vector).mean()
    speech = voiced(sound)
    paused = np.concatenate([np.zeros(16_000, np.float32), speech, np.zeros(16_000, np.float32)])
    assert (
        len(speech) < len(sound) and np.square(encoder.vectors([paused])[0] - vector).mean() < 0.3
    )
    with pytest.raises(ValueError, match="100 ms"):
        encoder.vectors([sound[:1500]])


def test_the_whitening_makes_the_scatter_within_speakers_round() -> None:
    """Speakers with loud planted noise in some directions: afterwards it is as loud as elsewhere, means stay apart."""
    rng = np.random.default_rng(0)
    speakers = np.repeat(np.arange(12), 200)
    scale = np.where(np.arange(20) < 7, 0.3, 5.0)
    rows = rng.standard_normal((2400, 20)) * scale + rng.standard_normal((12, 20))[speakers]
    root = whitening(rows, speakers, sphere=0.0)
    white = rows @ root
    within = np.mean([np.cov(white[speakers == s].T) for s in range(12)], axis=0)
    assert np.allclose(within, np.eye(20), atol=1e-6) and np.allclose(root, root.T)
    with pytest.raises(ValueError, match="two or more"):
        whitening(rows, np.zeros(2400))
