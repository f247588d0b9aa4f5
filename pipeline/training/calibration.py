"""Temperature scaling (Guo et al. 2017): one temperature for each set of present modalities.

How well it works is measured by the expected calibration error.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from scipy.special import log_softmax

from css_model import EmotionModel
from pipeline.core.dialogue import MODALITIES, Dialogue
from pipeline.training.graph_model import GraphModel
from pipeline.training.predictor import (
    apply_temperature,
    compute_logits,
    keep_modalities,
    modality_sets,
)

__all__ = ["BINS", "calibration_error", "fit_temperature", "fit_temperatures"]

BINS = 10  # of equal width, of the calibration error and the reliability diagram

MIN_UTTERANCES = 30  # labelled; a temperature fitted to fewer is noise
RANGE = (0.2, 10.0)


def fit_temperatures(
    model: EmotionModel | GraphModel, dialogues: list[Dialogue], log_prior: np.ndarray
) -> dict[str, float]:
    """Return the best temperature for each set of modalities, such as "text+audio".

    Each set is produced by hiding the other modalities of prepared, labelled dialogues, none of
    which was trained on. Sets with fewer than 30 labelled utterances are left out.
    """
    modalities = [m for m in MODALITIES if m in dict(model.config.widths)]
    temperatures: dict[str, float] = {}
    for size in range(1, len(modalities) + 1):
        for visible in combinations(modalities, size):
            name = "+".join(visible)
            masked = [keep_modalities(dialogue, visible) for dialogue in dialogues]
            logits, labels = _labelled_logits(model, masked, name)
            if len(labels) >= MIN_UTTERANCES:
                temperatures[name] = fit_temperature(logits, labels, log_prior)
    return temperatures


def fit_temperature(logits: np.ndarray, labels: np.ndarray, log_prior: np.ndarray) -> float:
    """Return the temperature with the smallest negative log-likelihood, between 0.2 and 10.

    logits: (n, classes); labels: (n,); log_prior: (classes,), which is not scaled.
    """

    from scipy.optimize import minimize_scalar  # takes a third of a second; labelling needs none

    def loss(log_temperature: float) -> float:
        scaled = apply_temperature(logits, log_prior, np.exp(log_temperature))
        return -float(log_softmax(scaled, axis=1)[np.arange(len(labels)), labels].mean())

    result = minimize_scalar(loss, bounds=tuple(np.log(RANGE)), method="bounded")
    return round(float(np.exp(result.x)), 4)


def calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Return the expected calibration error (Guo et al. 2017, eq. 3) with `BINS` bins.

    confidence: (n,) probability of the prediction. correct: (n,) bool.

    >>> calibration_error(np.array([0.8, 0.8, 0.8, 0.8]), np.array([True, True, True, False]))
    0.05
    """
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = np.abs(np.bincount(bins, correct - confidence))
    return round(float(gaps.sum() / len(confidence)), 6)


def _labelled_logits(
    model: EmotionModel | GraphModel, dialogues: list[Dialogue], modalities: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return logits and labels of the labelled utterances that have exactly these modalities."""
    logits, labels = [], []
    for dialogue, rows in zip(dialogues, compute_logits(model, dialogues), strict=True):
        use = (dialogue.labels >= 0) & (np.array(modality_sets(dialogue)) == modalities)
        logits.append(rows[use])
        labels.append(dialogue.labels[use])
    return np.concatenate(logits), np.concatenate(labels)
