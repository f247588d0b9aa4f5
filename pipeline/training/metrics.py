"""Scores of predictions, their confidence intervals, and a significance test for two runs."""

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

from pipeline.core.errors import MercError

__all__ = [
    "HEADLINES",
    "best_single_seed",
    "dialogue_confusions",
    "holm",
    "interval",
    "randomisation_test",
    "scores",
    "weighted_f1",
]

HEADLINES = ("accuracy", "weighted_f1", "macro_f1", "macro_recall")


def scores(truth: np.ndarray, guess: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """Score labelled utterances.

    truth, guess: (n,) indices into `labels`. Rows of the confusion matrix are the truth. Macro
    averages run over the classes present in the truth; a guess of another class counts as wrong.

    Raises MercError if there is nothing to score.

    >>> scores(np.array([0, 0, 1]), np.array([0, 1, 1]), ("sad", "joy"))["confusion"]
    [[1, 1], [0, 1]]
    """
    if not len(truth):
        raise MercError("no labelled utterance to score", "label some utterances")
    classes = np.arange(len(labels))
    precision, recall, f1, support = precision_recall_fscore_support(
        truth, guess, labels=classes, zero_division=0
    )
    present = classes[support > 0]
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
        "confusion": confusion_matrix(truth, guess, labels=classes).tolist(),
    }


def dialogue_confusions(
    truths: Sequence[np.ndarray], guesses: Sequence[np.ndarray], classes: int
) -> np.ndarray:
    """Return one confusion matrix per dialogue, (dialogues, classes, classes), truth in rows.

    Utterances without a label (-1) do not count.

    >>> dialogue_confusions([np.array([0, 1, -1])], [np.array([1, 1, 0])], 2)[0]
    array([[0., 1.],
           [0., 1.]])
    """
    counts = np.zeros((len(truths), classes, classes))
    for k, (truth, guess) in enumerate(zip(truths, guesses, strict=True)):
        labelled = truth >= 0
        np.add.at(counts[k], (truth[labelled], guess[labelled]), 1)
    return counts


def weighted_f1(confusion: np.ndarray) -> np.ndarray:
    """Return the weighted F1 of (..., classes, classes) confusion matrices; 0 for empty ones.

    >>> float(weighted_f1(np.array([[2, 0], [0, 1]])))
    1.0
    """
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    truth, guess = confusion.sum(-1), confusion.sum(-2)
    f1 = 2 * hits / np.maximum(truth + guess, 1e-300)
    return (f1 * truth).sum(-1) / np.maximum(truth.sum(-1), 1e-300)


def interval(counts: np.ndarray, draws: int = 2000, seed: int = 0) -> list[float]:
    """Return the 95 % bootstrap interval of the seed-mean weighted F1.

    counts: (seeds, dialogues, classes, classes). Dialogues are resampled crossed with seeds: one
    draw of dialogues serves all seeds of that draw.
    """
    seeds, dialogues, classes, _ = counts.shape
    rng = np.random.default_rng(seed)
    flat = counts.transpose(1, 0, 2, 3).reshape(dialogues, -1)
    weights = rng.multinomial(dialogues, np.full(dialogues, 1 / dialogues), draws)
    values = weighted_f1((weights @ flat).reshape(draws, seeds, classes, classes))
    chosen = rng.integers(0, seeds, (draws, seeds))
    means = np.take_along_axis(values, chosen, 1).mean(1)
    return [float(bound) for bound in np.percentile(means, [2.5, 97.5])]


def randomisation_test(
    a: np.ndarray, b: np.ndarray, draws: int = 10_000, seed: int = 0
) -> dict[str, float]:
    """Test the difference of the seed-mean weighted F1, a - b, by approximate randomisation.

    a, b: (seeds, dialogues, classes, classes) on the same dialogues. A dialogue's predictions are
    swapped for all seeds together. p is two-sided: (k + 1) / (draws + 1), where k draws differ by
    at least as much as the runs do.
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
        differences = np.abs(statistic(total + change, other - change))
        extreme += int((differences >= abs(observed) - 1e-12).sum())
    return {"difference": observed, "p": (extreme + 1) / (draws + 1), "draws": draws}


def holm(p: Sequence[float]) -> list[float]:
    """Return p values adjusted by Holm's method, in the given order.

    >>> holm([0.25, 0.03125])
    [0.25, 0.0625]
    """
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, k in enumerate(sorted(range(len(p)), key=lambda k: p[k])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[k]))
        adjusted[k] = largest
    return adjusted


def best_single_seed(run: dict[str, Any]) -> dict[str, float]:
    """Return the test scores of the best seed in the metrics of a run, and its number."""
    entry = next(entry for entry in run["per_seed"] if entry["seed"] == run["best_seed"])
    return {name: entry["test"][name] for name in HEADLINES} | {"seed": run["best_seed"]}
