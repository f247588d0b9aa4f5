"""Scores against scikit-learn, intervals and tests against brute force."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from sklearn.metrics import f1_score, recall_score

from pipeline.core.errors import MercError
from pipeline.training.metrics import (
    dialogue_confusions,
    holm,
    interval,
    randomisation_test,
    scores,
    weighted_f1,
)


def draw(
    rng: np.random.Generator, seeds: int, dialogues: int, classes: int, skill: float
) -> tuple[list, list]:
    truths = [rng.integers(-1, classes, 8) for _ in range(dialogues)]
    guesses = [
        [
            np.where(rng.random(8) < skill, np.maximum(t, 0), rng.integers(0, classes, 8))
            for t in truths
        ]
        for _ in range(seeds)
    ]
    return truths, guesses


def test_weighted_f1_of_counts_is_scikit_learn_s() -> None:
    truths, guesses = draw(np.random.default_rng(0), 1, 20, 4, 0.5)
    truth, guess = np.concatenate(truths), np.concatenate(guesses[0])
    known = truth >= 0
    counts = dialogue_confusions(truths, guesses[0], 4).sum(0)
    assert weighted_f1(counts) == pytest.approx(
        f1_score(truth[known], guess[known], average="weighted")
    )


def test_macro_averages_run_over_the_classes_of_the_truth() -> None:
    truth, guess = np.array([0, 0, 1, 1]), np.array([0, 2, 1, 1])
    result = scores(truth, guess, ("a", "b", "c", "d"))
    assert result["macro_recall"] == pytest.approx(
        recall_score(truth, guess, labels=[0, 1], average="macro")
    )
    assert result["macro_f1"] == pytest.approx(
        f1_score(truth, guess, labels=[0, 1], average="macro")
    )
    assert result["accuracy"] == 0.75 and result["confusion"][0][2] == 1
    assert result["per_class"]["c"] == {"precision": 0, "recall": 0, "f1": 0, "support": 0}


def test_nothing_to_score_is_an_error() -> None:
    with pytest.raises(MercError, match="no labelled"):
        scores(np.zeros(0, int), np.zeros(0, int), ("a", "b"))


def test_p_is_close_to_that_of_all_swaps() -> None:
    rng = np.random.default_rng(1)
    truths, a = draw(rng, 2, 8, 3, 0.7)
    b = [
        [np.where(rng.random(8) < 0.4, np.maximum(t, 0), rng.integers(0, 3, 8)) for t in truths]
        for _ in range(2)
    ]
    first, second = (np.stack([dialogue_confusions(truths, g, 3) for g in run]) for run in (a, b))
    observed = weighted_f1(first.sum(1)).mean() - weighted_f1(second.sum(1)).mean()
    differences = []
    for swap in product([False, True], repeat=8):
        s = np.array(swap)[None, :, None, None]
        left, right = np.where(s, second, first), np.where(s, first, second)
        differences.append(weighted_f1(left.sum(1)).mean() - weighted_f1(right.sum(1)).mean())
    exact = np.mean(np.abs(differences) >= abs(observed) - 1e-12)
    result = randomisation_test(first, second)
    assert result["difference"] == pytest.approx(observed)
    assert result["p"] == pytest.approx(exact, abs=0.015)
    assert randomisation_test(second, first)["p"] == pytest.approx(result["p"])
    assert randomisation_test(first, first)["p"] == 1


def test_an_interval_contains_its_figure_and_shrinks_with_dialogues() -> None:
    widths = []
    for dialogues in (10, 160):
        truths, guesses = draw(np.random.default_rng(2), 3, dialogues, 3, 0.6)
        counts = np.stack([dialogue_confusions(truths, g, 3) for g in guesses])
        low, high = interval(counts)
        assert low <= weighted_f1(counts.sum(1)).mean() <= high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
