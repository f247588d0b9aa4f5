"""What a prediction is worth: scores, their intervals over dialogues and seeds, and the comparison of two runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
)

__all__ = [
    "HEADLINES",
    "dialogue_confusions",
    "holm",
    "interval",
    "randomisation_test",
    "scores",
    "weighted_f1",
]

HEADLINES = ("accuracy", "weighted_f1", "macro_f1", "macro_recall")


def scores(truth: np.ndarray, guess: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """Scores of labelled utterances; truth and guess (n,) index `labels`.  Confusion rows are the truth.

    Macro averages run over the classes present in the truth; a guess of another class still counts as wrong.
    Raises ValueError when there is nothing to score.
    """
    if not len(truth):
        raise ValueError("no labelled utterance to score")
    every = np.arange(len(labels))
    precision, recall, f1, support = precision_recall_fscore_support(
        truth, guess, labels=every, zero_division=0
    )
    present = every[support > 0]
    return {
        "utterances": len(truth),
        "accuracy": float(accuracy_score(truth, guess)),
        "weighted_f1": float(
            f1_score(truth, guess, labels=present, average="weighted", zero_division=0)
        ),
        "macro_f1": float(f1[present].mean()),
        "macro_recall": float(recall[present].mean()),
        "per_class": {
            name: {
                "precision": float(precision[k]),
                "recall": float(recall[k]),
                "f1": float(f1[k]),
                "support": int(support[k]),
            }
            for k, name in enumerate(labels)
        },
        "confusion": confusion_matrix(truth, guess, labels=every).tolist(),
    }


def dialogue_confusions(
    truths: Sequence[np.ndarray], guesses: Sequence[np.ndarray], classes: int
) -> np.ndarray:
    """(dialogues, classes, classes) counts, truth in rows; utterances without a label (-1) do not count."""
    counts = np.zeros((len(truths), classes, classes))
    for k, (truth, guess) in enumerate(zip(truths, guesses, strict=True)):
        known = truth >= 0
        np.add.at(counts[k], (truth[known], guess[known]), 1)
    return counts


def weighted_f1(confusion: np.ndarray) -> np.ndarray:
    """Weighted F1 of (..., classes, classes) counts; 0 where nothing is counted."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    truth, guess = confusion.sum(-1), confusion.sum(-2)
    f1 = 2 * hits / np.maximum(truth + guess, 1e-300)
    return (f1 * truth).sum(-1) / np.maximum(truth.sum(-1), 1e-300)


def interval(counts: np.ndarray, draws: int = 2000, seed: int = 0) -> list[float]:
    """95 % bootstrap interval of the seed-mean weighted F1: dialogues crossed with seeds.

    counts (seeds, dialogues, classes, classes): one draw of dialogues serves all drawn seeds.
    """
    seeds, dialogues, classes, _ = counts.shape
    rng = np.random.default_rng(seed)
    flat = counts.transpose(1, 0, 2, 3).reshape(dialogues, -1)
    weights = rng.multinomial(dialogues, np.full(dialogues, 1 / dialogues), draws)
    values = weighted_f1((weights @ flat).reshape(draws, seeds, classes, classes))
    chosen = rng.integers(0, seeds, (draws, seeds))
    return [
        float(v) for v in np.percentile(np.take_along_axis(values, chosen, 1).mean(1), [2.5, 97.5])
    ]


def randomisation_test(
    a: np.ndarray, b: np.ndarray, draws: int = 10_000, seed: int = 0
) -> dict[str, float]:
    """Two-sided approximate randomisation on the difference of seed-mean weighted F1, a - b.

    a, b (seeds, dialogues, classes, classes) on the same dialogues.  A dialogue's predictions are swapped for all
    seeds together; p = (k + 1) / (n + 1).
    """
    seeds, dialogues, classes, _ = a.shape

    def statistic(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return weighted_f1(left).mean(-1) - weighted_f1(right).mean(-1)

    observed = float(statistic(a.sum(1), b.sum(1)))
    rng = np.random.default_rng(seed)
    total, moved = a.sum(1), (b - a).transpose(1, 0, 2, 3).reshape(dialogues, -1)
    other, extreme = b.sum(1), 0
    for start in range(0, draws, 1000):
        size = min(1000, draws - start)
        swap = rng.integers(0, 2, (size, dialogues)).astype(np.float64)
        change = (swap @ moved).reshape(size, seeds, classes, classes)
        extreme += int(
            (np.abs(statistic(total + change, other - change)) >= abs(observed) - 1e-12).sum()
        )
    return {"difference": observed, "p": (extreme + 1) / (draws + 1), "draws": draws}


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p values, in the given order."""
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, k in enumerate(sorted(range(len(p)), key=lambda k: p[k])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[k]))
        adjusted[k] = largest
    return adjusted
