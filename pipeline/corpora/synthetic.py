"""A corpus on which fusion matters, made from a seed.

Three sticky moods per speaker that every modality shows, times one bit that is the sign of a product of two
factors, one private to text, one to audio: either alone says nothing of it.  Six labels; P(bit) = .6.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.core.dialogue import MODALITIES, Corpus, Dialogue

__all__ = ["load_synthetic", "make_synthetic"]

MOODS = ("calm", "glad", "cross")
WIDTHS = {"text": 32, "audio": 24, "visual": 20}
SIGNAL = 3.0  # length of each component, in standard deviations of the noise
STAY = 0.8  # chance that a speaker's mood stays from turn to turn
BIT = 0.6


def load_synthetic(data: Path | None = None) -> Corpus:
    if data is not None:
        raise ValueError(
            f"--data {data}: the synthetic corpus is made from a seed; leave --data out"
        )
    return make_synthetic()


def make_synthetic(
    train: int = 300, valid: int = 40, test: int = 80, length: int = 10, seed: int = 0
) -> Corpus:
    """Dialogues of `length` ± 40 % turns by two speakers; the same seed gives the same corpus."""
    rng = np.random.default_rng(seed)
    axes = {
        m: np.linalg.qr(rng.standard_normal((width, len(MOODS) + 1)))[0].T
        for m, width in WIDTHS.items()
    }
    labels = tuple(f"{mood}-{bit}" for mood in MOODS for bit in ("odd", "even"))
    dialogues = []
    for part, count in (("train", train), ("valid", valid), ("test", test)):
        for number in range(count):
            n = int(rng.integers(round(0.6 * length), round(1.4 * length) + 1))
            speakers = rng.integers(0, 2, n)
            mood = rng.integers(0, len(MOODS), 2)
            moods = np.zeros(n, np.int64)
            for k, who in enumerate(speakers):
                if rng.random() > STAY:
                    mood[who] = rng.integers(0, len(MOODS))
                moods[k] = mood[who]
            bits = (rng.random(n) < BIT).astype(np.int64)
            private = {m: rng.choice([-1.0, 1.0], n) for m in MODALITIES}
            private["audio"] = private["text"] * (2 * bits - 1)
            features = {
                m: (
                    SIGNAL * (axes[m][moods] + private[m][:, None] * axes[m][-1])
                    + rng.standard_normal((n, WIDTHS[m]))
                ).astype(np.float32)
                for m in MODALITIES
            }
            dialogues.append(
                Dialogue(
                    id=f"{part}{number:03d}",
                    split=part,
                    utterances=[str(k) for k in range(n)],
                    speakers=[f"speaker {who}" for who in speakers],
                    texts=["" for _ in range(n)],
                    labels=2 * moods + bits,
                    features=features,
                )
            )
    made = {
        m: {"extractor": "synthetic", "version": 1, "weights": None, "options": {"seed": seed}}
        for m in MODALITIES
    }
    return Corpus("synthetic", labels, dialogues, dict(WIDTHS), made)
