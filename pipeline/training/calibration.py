"""One temperature per set of present modalities (Guo et al. 2017), fitted on dialogues that trained nothing."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from css_model import CSS
from pipeline.core.dialogue import MODALITIES, Dialogue
from pipeline.training.predictor import logits_of, modality_sets, tempered

__all__ = ["fit_temperatures"]

LEAST = 30  # labelled utterances; fewer fit noise
RANGE = (0.2, 10.0)


def fit_temperatures(
    model: CSS, dialogues: list[Dialogue], log_prior: np.ndarray
) -> dict[str, float]:
    """Modality set, as "text+audio", to the temperature of the evidence with the least negative log-likelihood.

    Each set is made by hiding the other modalities of prepared, labelled dialogues.
    """
    owned = [m for m in MODALITIES if m in dict(model.config.widths)]
    result: dict[str, float] = {}
    for size in range(1, len(owned) + 1):
        for kept in combinations(owned, size):
            hidden = [
                replace(
                    d,
                    features={
                        m: rows if m in kept else np.full_like(rows, np.nan)
                        for m, rows in d.features.items()
                    },
                )
                for d in dialogues
            ]
            name = "+".join(kept)
            logits, labels = [], []
            for d, rows in zip(hidden, logits_of(model, hidden), strict=True):
                use = (d.labels >= 0) & (np.array(modality_sets(d)) == name)
                logits.append(rows[use])
                labels.append(d.labels[use])
            rows, truth = np.concatenate(logits), np.concatenate(labels)
            if len(truth) >= LEAST:
                result[name] = _best(rows, truth, log_prior)
    return result


def _best(logits: np.ndarray, truth: np.ndarray, log_prior: np.ndarray) -> float:
    def loss(log_heat: float) -> float:
        scores = log_softmax(tempered(logits, log_prior, np.exp(log_heat)), axis=1)
        return -float(scores[np.arange(len(truth)), truth].mean())

    found = minimize_scalar(loss, bounds=tuple(np.log(RANGE)), method="bounded")
    return round(float(np.exp(found.x)), 4)
