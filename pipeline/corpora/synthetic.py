"""A corpus generated from a seed, on which fusion matters.

Every modality shows which of three moods a speaker is in; moods persist from turn to turn. A bit
is the sign of the product of two private factors, one in text and one in audio: either of them
alone says nothing about it. Mood and bit make six labels.
"""

from __future__ import annotations

import numpy as np

from pipeline.core.dialogue import MODALITIES, Corpus, Dialogue

__all__ = ["make_synthetic"]

MOODS = ("calm", "glad", "cross")
LABELS = tuple(f"{mood}-{bit}" for mood in MOODS for bit in ("odd", "even"))
WIDTHS = {"text": 32, "audio": 24, "visual": 20}
SIGNAL = 3.0  # length of each component, in standard deviations of the noise
STAY = 0.8  # probability that a speaker's mood persists from turn to turn
BIT = 0.6  # probability that the bit is 1


def make_synthetic(
    train: int = 300, valid: int = 40, test: int = 80, length: int = 10, seed: int = 0
) -> Corpus:
    """Generate dialogues of `length` ± 40 % turns between two speakers.

    Args:
        train, valid, test: number of dialogues of each split.

    The same arguments give the same corpus.

    >>> corpus = make_synthetic(train=2, valid=1, test=1)
    >>> [dialogue.id for dialogue in corpus.dialogues]
    ['train000', 'train001', 'valid000', 'test000']
    """
    rng = np.random.default_rng(seed)
    axes = {}
    for modality, width in WIDTHS.items():
        # orthonormal directions: one for each mood, and one for the private factor
        axes[modality] = np.linalg.qr(rng.standard_normal((width, len(MOODS) + 1)))[0].T
    dialogues = []
    for split, count in (("train", train), ("valid", valid), ("test", test)):
        for number in range(count):
            dialogues.append(_dialogue(rng, axes, split, number, length))
    fingerprint = {
        "extractor": "synthetic",
        "version": 1,
        "weights": None,
        "options": {"seed": seed},
    }
    fingerprints = {modality: dict(fingerprint) for modality in MODALITIES}
    return Corpus("synthetic", LABELS, dialogues, dict(WIDTHS), fingerprints)


def _dialogue(
    rng: np.random.Generator, axes: dict[str, np.ndarray], split: str, number: int, length: int
) -> Dialogue:
    n = int(rng.integers(round(0.6 * length), round(1.4 * length) + 1))
    speakers = rng.integers(0, 2, n)
    moods = _moods(rng, speakers)
    bits = (rng.random(n) < BIT).astype(np.int64)
    private = {modality: rng.choice([-1.0, 1.0], n) for modality in MODALITIES}
    private["audio"] = private["text"] * (2 * bits - 1)
    features = {}
    for modality in MODALITIES:
        signal = axes[modality][moods] + private[modality][:, None] * axes[modality][-1]
        noise = rng.standard_normal((n, WIDTHS[modality]))
        features[modality] = (SIGNAL * signal + noise).astype(np.float32)
    return Dialogue(
        id=f"{split}{number:03d}",
        split=split,
        utterances=[str(k) for k in range(n)],
        speakers=[f"speaker {speaker}" for speaker in speakers],
        texts=[""] * n,
        labels=2 * moods + bits,
        features=features,
    )


def _moods(rng: np.random.Generator, speakers: np.ndarray) -> np.ndarray:
    """Return the mood of each turn, an index of MOODS."""
    mood_of = rng.integers(0, len(MOODS), 2)
    moods = np.zeros(len(speakers), np.int64)
    for turn, speaker in enumerate(speakers):
        if rng.random() > STAY:
            mood_of[speaker] = rng.integers(0, len(MOODS))
        moods[turn] = mood_of[speaker]
    return moods
