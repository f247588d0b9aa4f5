"""Two people who speak at once, in voices that the weights were not fitted to (GRID)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from extractors.overlap import LIKELY, overlap_probability
from extractors.speech import LAYERS, SpeechExtractor
from pipeline.media.decode import RATE, open_media

SPOKEN = slice(round(0.4 * RATE), round(2.3 * RATE))  # what a clip of GRID says, without the pauses


@pytest.fixture(scope="module")
def voices(media: Path) -> list[np.ndarray]:
    sounds = []
    for path in sorted((media / "grid").glob("*.mpg")):
        with open_media(path) as recording:
            sound = recording.sound()[SPOKEN]
        sounds.append(sound / np.sqrt(np.square(sound).mean()))
    return sounds


def probability(sound: np.ndarray) -> float:
    features = SpeechExtractor(LAYERS).extract(0.05 * sound, RATE)
    return overlap_probability(features)


def test_two_voices_at_once_are_told_from_one(voices):
    alone = [probability(voice) for voice in voices]
    pairs = zip(voices, voices[1:] + voices[:1], strict=True)
    both = [probability(one + other) for one, other in pairs]
    assert np.mean(np.greater_equal(alone, LIKELY)) <= 0.1
    assert np.mean(np.greater_equal(both, LIKELY)) >= 0.6


def test_a_quieter_second_voice_counts_less(voices):
    for one, other in ((voices[0], voices[4]), (voices[2], voices[7])):
        loud, faint = (probability(one + level * other) for level in (1.0, 0.02))
        assert faint < loud


def test_an_extraction_states_the_probability(voices):
    extractor = SpeechExtractor()
    features = extractor.extract(0.05 * voices[0], RATE)
    about = extractor.quality(0.05 * voices[0], RATE, features)
    assert about["overlap"] == round(probability(voices[0]), 2)
    assert "overlap" not in extractor.quality(0.05 * voices[0], RATE)
