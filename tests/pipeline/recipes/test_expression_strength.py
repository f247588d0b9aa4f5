"""merc-offline over neutral words: strong voices and faces decide, weak ones do not."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.dialogue import Dialogue
from pipeline.corpora.meld_transcripts import EMOTIONS
from pipeline.features.profiles import build_extractors, options_of
from pipeline.media.decode import RATE, open_media
from pipeline.recipes.acted_voices import HELD_OUT, VOTES
from pipeline.recipes.ferplus import load_ferplus
from pipeline.recipes.posed_faces import FERPLUS_EMOTIONS, MELD_OF
from pipeline.training.predictor import Predictor, keep_modalities

WORDS = "I'm on my way to the meeting."
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
VOICES, IMAGES = 3, 8  # per emotion and strength
ACTORS = HELD_OUT[2:10]  # each file is decoded once


@pytest.fixture(scope="module")
def probabilities(shared: Path) -> dict[str, np.ndarray]:
    """Return the probability of the emotion shown, (emotions, strengths, voices), per modalities.

    Actors and images that were not trained on. The strength of a voice is the share of the crowd
    that read the emotion from voice and face; that of a face, the share of its images that show it.
    """
    model = Predictor.load("merc-offline")
    extractors = build_extractors("offline", options_of(model.fingerprints))
    data, rng = shared / "data", np.random.default_rng(0)
    faces = _faces(data, extractors["visual"], rng)
    with open(data / "speech" / "cremad" / "labels.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if f"cremad-{row['actor']}" in ACTORS]
    votes = np.array([[float(row[f"both_{letter}"] or 0) for letter in VOTES] for row in rows])
    shares = votes / votes.sum(1, keepdims=True)
    sounds = {name: _sound(data / "speech" / "cremad" / name) for name in {r["file"] for r in rows}}
    text = extractors["text"].extract([WORDS])
    sets = {name: [] for name in ("text", "audio+visual", "text+audio+visual")}
    for k, emotion in enumerate(VOTES.values()):
        for strength in STRENGTHS if emotion != "neutral" else ():
            near = np.flatnonzero(abs(shares[:, k] - strength) <= 0.15)
            images = np.concatenate(
                [
                    rng.choice(faces[name], count)
                    for name, count in (
                        (emotion, round(IMAGES * strength)),
                        ("neutral", IMAGES - round(IMAGES * strength)),
                    )
                ]
            )
            for row in rng.choice(near, VOICES, replace=False):
                start, end = (round(float(rows[row][edge]) * RATE) for edge in ("start", "end"))
                voice = extractors["audio"].extract(sounds[rows[row]["file"]][start:end], RATE)
                features = {"text": text, "audio": voice[None], "visual": images.mean(0)[None]}
                dialogue = Dialogue("0", "", ["0"], ["A"], [WORDS], np.array([-1]), features)
                for name, values in sets.items():
                    visible = keep_modalities(dialogue, name.split("+"))
                    scores = model.probabilities(visible, "auto")[0]
                    values.append(scores[[EMOTIONS.index(emotion), 0]])
    shape = (len(VOTES) - 1, len(STRENGTHS), VOICES, 2)
    return {name: np.array(values).reshape(shape) for name, values in sets.items()}


def test_the_words_alone_are_neutral(probabilities: dict[str, np.ndarray]):
    shown, neutral = np.moveaxis(probabilities["text"], -1, 0)
    assert (neutral > shown).all()


def test_the_probability_rises_with_the_strength(probabilities: dict[str, np.ndarray]):
    shown, neutral = np.moveaxis(probabilities["text+audio+visual"].mean((0, 2)), -1, 0)
    assert (np.diff(shown) > 0).all(), shown
    assert shown[0] < 0.125 and shown[0] < neutral[0] / 2.5, (shown, neutral)
    assert shown[-1] > 0.5 and shown[-1] > 4 * neutral[-1], (shown, neutral)


def test_a_strong_expression_wins_for_most_emotions(probabilities: dict[str, np.ndarray]):
    strong = probabilities["text+audio+visual"][:, -1].mean(1)  # (emotions, 2)
    assert (strong[:, 0] > strong[:, 1]).sum() >= 4, strong


def _faces(data: Path, extractor, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return face vectors of 24 validation images of every emotion, by MELD's names."""
    _, valid = load_ferplus(data / "ferplus_48.npz")
    labels = valid.label.numpy()
    return {
        MELD_OF[name]: extractor.embed_faces(
            valid.images.numpy()[rng.choice(np.flatnonzero(labels == k), 24)]
        )
        for k, name in enumerate(FERPLUS_EMOTIONS)
        if name in MELD_OF
    }


def _sound(path: Path) -> np.ndarray:
    with open_media(path) as media:
        return media.sound(0, media.duration)
