"""How likely two people speak at once in an utterance, in voices of GRID."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from support.clips import write_wav

from extractors.speech import SpeechExtractor
from pipeline.features.compute import compute_features
from pipeline.features.overlap import LIKELY
from pipeline.media.decode import RATE, open_media
from pipeline.segmentation.segment import segment
from pipeline.segmentation.talking import listen


@dataclass(eq=False)
class Sound:
    samples: np.ndarray

    def sound(self, start: float, end: float) -> np.ndarray:
        return self.samples[round(start * RATE) : round(end * RATE)]


@pytest.fixture(scope="module")
def voices(media: Path) -> list[np.ndarray]:
    sounds = []
    for path in sorted((media / "grid").glob("*.mpg")):
        with open_media(path) as recording:
            sound = recording.sound()[: round(2.8 * RATE)]
        sounds.append(0.05 * sound / np.sqrt(np.square(sound).mean()))
    return sounds


def probability(sound: np.ndarray) -> float:
    return listen(Sound(sound.astype(np.float32))).overlap(0.3, 2.5)


def test_two_voices_at_once_are_told_from_one(voices):
    pairs = [*zip(voices, voices[1:] + voices[:1], strict=True)]
    assert max(map(probability, voices)) < LIKELY / 2
    assert min(probability(one + other) for one, other in pairs) >= LIKELY
    quieter = [probability(one + 0.316 * other) >= LIKELY for one, other in pairs]  # by 10 dB
    assert np.mean(quieter) >= 0.9


def test_a_second_voice_that_can_hardly_be_heard_counts_less(voices):
    for one, other in ((voices[0], voices[4]), (voices[2], voices[7])):
        loud, faint = (probability(one + level * other) for level in (1.0, 0.02))
        assert faint < loud


def test_features_state_it_where_a_transcript_gives_the_times(voices, tmp_path):
    path = tmp_path / "two.wav"
    write_wav(path, [np.concatenate([voices[0], voices[1], voices[2] + voices[3]])], RATE)
    path.with_suffix(".csv").write_text(
        "start,end,speaker,text\n0.3,2.5,A,bin blue\n3.1,5.3,B,lay red\n5.9,8.1,A,set white\n"
        "8.35,8.4,A,oh\n",
        encoding="utf-8",
    )
    with open_media(path) as media:
        segmentation = segment(media)
        quality = compute_features(media, segmentation, {"audio": SpeechExtractor()}).quality
    *alone, both, short = quality["audio"]
    assert all(0 <= about["overlap"] < LIKELY for about in alone)
    assert LIKELY <= both["overlap"] <= 1
    assert "overlap" not in short and not short["present"]
