"""Voices of GRID and of a real conversation.

Neither the voice encoder nor its model of speakers was trained on them. Two of the GRID clips are
of one man, the others of nine people.
"""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from support.threads import with_threads
from torchaudio.compliance.kaldi import fbank

from extractors.voice import load_voice, voice_mels, voiced
from pipeline.core.dialogue import Utterance
from pipeline.media.decode import open_media
from pipeline.recipes.voice_encoder import discriminants
from pipeline.segmentation.speakers_by_voice import assign_speakers, voice_vectors
from pipeline.segmentation.transcripts import read_rttm

Voices = dict[str, tuple[np.ndarray, np.ndarray]]
ONE_MAN = {"id2_vcd_swwp2s", "pwij3p"}


@pytest.fixture(scope="module")
def voices(media: Path) -> Voices:
    """Clip -> vectors and seconds of the whole clip (row 0) and of its halves."""
    parts = [Utterance(0.4, 2.3, "x"), Utterance(0.4, 1.35, "x"), Utterance(1.35, 2.3, "x")]
    voices = {}
    for clip in sorted((media / "grid").glob("*.mpg")):
        with open_media(clip) as opened:
            voices[clip.stem] = voice_vectors(opened, parts)
    return voices


def test_one_man_is_one_speaker_and_most_pairs_are_two(voices: Voices) -> None:
    def speakers(*names: str) -> list[int]:
        vectors = np.stack([voices[name][0][0] for name in names])
        return assign_speakers(vectors, np.array([voices[name][1][0] for name in names]))

    pairs = [pair for pair in combinations(voices, 2) if set(pair) != ONE_MAN]
    assert speakers(*sorted(ONE_MAN)) == [0, 0]
    assert np.mean([len(set(speakers(*pair))) == 2 for pair in pairs]) > 0.75
    assert 5 <= len(set(speakers(*voices))) <= 10


def test_with_count_two_the_turns_of_two_people_are_separated(voices: Voices) -> None:
    """Each clip cut in halves of a second: a, b, a, b."""
    correct = []
    for pair in combinations(voices, 2):
        if set(pair) != ONE_MAN:
            halves = np.stack([voices[name][0][half] for half in (1, 2) for name in pair])
            correct.append(assign_speakers(halves, np.full(4, 0.95), 2) == [0, 1, 0, 1])
    assert np.mean(correct) > 0.6


def test_a_real_conversation_is_of_two_people(media: Path) -> None:
    """At least 80 % of the time of its reference turns, which overlap, gets the right speaker."""
    turns = []
    for start, end, speaker in read_rttm(media / "turns" / "sample.rttm"):
        turns.append(Utterance(start, end, "x", speaker))
    with open_media(media / "turns" / "sample.wav") as opened:
        vectors, seconds = voice_vectors(opened, turns)
    by_first = np.array([turn.speaker == turns[0].speaker for turn in turns])
    numbers = np.array(assign_speakers(vectors, seconds, 2))
    correct = seconds[(numbers == 0) == by_first].sum() / seconds.sum()
    assert max(correct, 1 - correct) > 0.8


def test_the_order_of_utterances_only_renumbers(voices: Voices) -> None:
    vectors = np.stack([vectors[0] for vectors, _ in voices.values()])
    seconds = np.stack([seconds[0] for _, seconds in voices.values()])
    forward = assign_speakers(vectors, seconds)
    backward = assign_speakers(vectors[::-1], seconds[::-1])[::-1]
    for i, j in combinations(range(len(vectors)), 2):
        assert (forward[i] == forward[j]) == (backward[i] == backward[j])


def test_a_voice_does_not_depend_on_level_pauses_or_batch(media: Path) -> None:
    with open_media(media / "jfk.flac") as opened:
        sound, other = opened.sound(5.4, 8.0), opened.sound(0.3, 2.2)
    encoder = load_voice()
    vector = encoder.vectors([sound])[0]
    together = encoder.vectors([other, 0.25 * sound])
    assert np.square(together[1] - vector).mean() < 1e-3 < np.square(together[0] - vector).mean()
    speech = voiced(sound)
    paused = np.concatenate([np.zeros(16_000, np.float32), speech, np.zeros(16_000, np.float32)])
    assert len(speech) < len(sound)
    assert np.square(encoder.vectors([paused])[0] - vector).mean() < 0.3
    with pytest.raises(ValueError, match="100 ms"):
        encoder.vectors([sound[:1500]])


def test_digital_silence_has_the_energy_of_kaldis_floor(media: Path) -> None:
    with open_media(media / "jfk.flac") as opened:
        sound = np.concatenate([np.zeros(8000, np.float32), opened.sound(0.3, 2.2)])
    mels = fbank(32768 * torch.from_numpy(sound)[None], num_mel_bins=80, sample_frequency=16_000.0)
    np.testing.assert_allclose(voice_mels(sound), mels - mels.mean(0), atol=0.02)


def test_vectors_are_the_same_bits_with_any_number_of_threads(media: Path) -> None:
    parts = [Utterance(start, start + 1.5, "x") for start in (0.3, 2.0, 5.4)]
    with open_media(media / "jfk.flac") as opened:
        results = with_threads(lambda: voice_vectors(opened, parts)[0].tobytes())
    assert len(set(results)) == 1


def test_the_scatter_within_speakers_becomes_round_and_noise_is_left_out() -> None:
    """Speakers with strong noise in some directions, and differences in others."""
    rng = np.random.default_rng(0)
    speakers = np.repeat(np.arange(40), 100)
    scale = np.where(np.arange(20) < 7, 0.3, 5.0)
    rows = rng.standard_normal((4000, 20)) * scale + rng.standard_normal((40, 20))[speakers]
    _, projection, between = discriminants(rows, speakers, count=7, shrinkage=0.0)
    projected = rows @ projection
    within = np.mean([np.cov(projected[speakers == s].T) for s in range(40)], axis=0)
    assert np.allclose(within, np.eye(7), atol=1e-6)
    assert np.linalg.norm(projection[7:]) < 0.1 * np.linalg.norm(projection[:7])
    assert np.all(np.diff(between) <= 0) and 2 < between[-1] < between[0] < 40
    with pytest.raises(ValueError, match="two or more"):
        discriminants(rows, np.zeros(4000))
