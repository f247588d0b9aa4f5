"""The second of two people who speak at once, of GRID clips beside and upon each other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.dialogue import Utterance
from pipeline.media.decode import RATE, open_media
from pipeline.segmentation.speakers_at_once import _Examples, with_second_speakers
from pipeline.segmentation.talking import listen
from pipeline.segmentation.turns import WORDLESS

SPOKEN = slice(round(0.4 * RATE), round(2.4 * RATE))  # what a clip of GRID says
LENGTH = 2.0  # s


@dataclass(eq=False)
class Sound:
    samples: np.ndarray
    has_audio: bool = True

    def sound(self, start: float, end: float) -> np.ndarray:
        return self.samples[round(start * RATE) : round(end * RATE)]


@pytest.fixture(scope="module")
def voices(media: Path) -> list[np.ndarray]:
    sounds = []
    for path in sorted((media / "grid").glob("*.mpg"))[:6]:
        with open_media(path) as recording:
            sound = recording.sound()[SPOKEN]
        sounds.append(0.05 * sound / np.sqrt(np.square(sound).mean()))
    return sounds


def row(*sounds: np.ndarray) -> np.ndarray:
    """Put sounds one after the other, with a little silence before each."""
    pause = np.zeros(round(0.2 * RATE), np.float32)
    return np.concatenate([part for sound in sounds for part in (pause, sound)])


def utterances(speakers: str) -> list[Utterance]:
    """Return utterances of the sounds of `row`."""
    starts = [0.2 + k * (LENGTH + 0.2) for k in range(len(speakers))]
    return [
        Utterance(start, start + LENGTH, f"sentence {k}", speaker)
        for k, (start, speaker) in enumerate(zip(starts, speakers, strict=True))
    ]


def found(samples: np.ndarray, before: list[Utterance]) -> list[Utterance]:
    sound = Sound(samples.astype(np.float32))
    return with_second_speakers(sound, listen(sound), before)


@pytest.mark.parametrize(("a", "b"), [(0, 1), (2, 5), (4, 3)])
def test_who_speaks_during_an_utterance_of_another_is_added(voices, a: int, b: int) -> None:
    one, other = voices[a], voices[b]
    before = utterances("ABA")
    after = found(row(one, other, one + other), before)
    assert [u for u in after if u.text != WORDLESS] == before
    (second,) = (u for u in after if u.text == WORDLESS)
    assert second.speaker == "B"
    third = before[2]
    shared = min(second.end, third.end) - max(second.start, third.start)
    assert shared > 0.5 * LENGTH and second.end - second.start < 1.2 * LENGTH
    assert all(u.start <= v.start for u, v in pairwise(after))
    for speaker in "AB":
        own = [u for u in after if u.speaker == speaker]
        assert all(u.end <= v.start for u, v in pairwise(own))
    # the names decide who it is, not their order
    swapped = [replace(u, speaker="AB"["BA".index(u.speaker)]) for u in before]
    (second,) = (u for u in found(row(one, other, one + other), swapped) if u.text == WORDLESS)
    assert second.speaker == "A"


def test_nobody_is_added_to_voices_that_speak_in_turn(voices) -> None:
    for order, speakers in (([0, 1, 2, 3], "ABCD"), ([4, 4, 4, 4], "AABA"), ([5, 0, 5, 1], "ABAB")):
        before = utterances(speakers)
        assert found(row(*(voices[k] for k in order)), before) == before


def test_nobody_is_added_where_it_is_not_clear_who(voices) -> None:
    mixed = row(voices[0], voices[1], voices[0] + voices[3])
    before = [*utterances("ABA"), Utterance(7.0, 7.1, "Oh.", "C")]
    assert found(mixed, before) == before  # the other voice is never alone
    assert found(mixed, utterances("AAA")) == utterances("AAA")
    unnamed = [replace(u, speaker="") for u in before]
    assert found(mixed, unnamed) == unnamed


def test_noise_music_and_silence_add_nobody() -> None:
    rng = np.random.default_rng(0)
    times = np.arange(7 * RATE) / RATE
    chord = sum(np.sin(2 * np.pi * 220 * k * times) / k for k in (1, 1.25, 1.5, 2, 3))
    sweep = np.sin(2 * np.pi * np.cumsum(700 + 300 * np.sin(times)) / RATE)
    for sound in (0.1 * rng.standard_normal(len(times)), 0.1 * chord, 0.3 * sweep, 0 * times):
        before = utterances("ABA")
        assert found(sound, before) == before


def test_the_most_similar_of_the_other_voices(voices) -> None:
    """The last part holds two voices: one is known, the other one is asked for."""
    right = []
    for a, b, c in ((0, 1, 2), (3, 4, 5), (1, 3, 5), (2, 4, 0)):
        sounds = row(voices[a], voices[b], voices[c], voices[a] + voices[b])
        examples = _Examples(Sound(sounds), utterances("ABC"), ["A", "B", "C"])
        start, end = 3 * (LENGTH + 0.2) + 0.2, 4 * (LENGTH + 0.2)
        asked = [examples.most_similar(start, end, without) for without in (0, 1)]
        right += [
            number == other
            for number, other in zip(asked, (1, 0), strict=True)
            if number is not None
        ]
        assert 0 != asked[0] and asked[1] != 1
        assert examples.most_similar(start, start + 0.3, 0) is None  # too short
        nobody = _Examples(Sound(sounds), utterances("ABA"), ["A", "B"])
        assert nobody.most_similar(start, end, 0) is None  # two speakers are no choice
    assert np.mean(right) >= 0.75
