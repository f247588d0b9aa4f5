"""What each modality says about an utterance, and how much it changed the decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from pipeline.core.counts import utterances_at
from pipeline.core.dialogue import Dialogue
from pipeline.core.errors import MercWarning
from pipeline.core.softmax import softmax
from pipeline.training.predictor import Predictor, keep_modalities, prepare

__all__ = ["Evidence", "conflicts", "describe", "weigh"]

SURE, SURE_RATIO = 0.5, 2.0  # see `conflicts`


@dataclass(frozen=True)
class Evidence:
    """Probabilities of the n utterances of a dialogue from all, one, and all but one modality.

    probabilities: (n, classes), of all modalities.
    alone: modality -> (n, classes), with every other modality masked in the whole dialogue, so
        the context is that of this modality too. A row is NaN where the modality is missing.
    without: modality -> (n, classes), with this modality masked in the whole dialogue. A row is NaN
        where the modality is missing, or where it is the only one.
    prior: modality -> (classes,), how likely the emotions are before this modality is read.
    """

    probabilities: np.ndarray
    alone: dict[str, np.ndarray]
    without: dict[str, np.ndarray]
    prior: dict[str, np.ndarray]


def weigh(predictor: Predictor, dialogue: Dialogue, prior: str = "auto") -> Evidence:
    """Compute the probabilities with all modalities, with each alone, and without each.

    Every set of modalities has its own temperature, fitted with the same masks
    (`calibration.fit_temperatures`). The unimodal heads of CSS are not used: they serve the
    objectives of training and have no temperature.

    >>> import merc
    >>> corpus = merc.load_corpus("synthetic")
    >>> run = merc.train(corpus, out="runs/doc", seeds=1, settings=["train.epochs=1"])
    >>> evidence = weigh(merc.load_model(run), corpus.split("test")[0])
    >>> sorted(evidence.alone)
    ['audio', 'text', 'visual']
    """
    classes = len(predictor.labels)
    trained = softmax(np.asarray(predictor.checkpoint.log_prior, np.float64))
    priors = {
        modality: trained
        if prior == "train" or (prior == "auto" and modality == "text")
        else np.full(classes, 1 / classes)
        for modality in predictor.widths
    }
    if not dialogue.utterances:
        nothing = dict.fromkeys(predictor.widths, np.zeros((0, classes)))
        return Evidence(np.zeros((0, classes)), nothing, nothing, priors)
    prepared = prepare(dialogue, predictor.widths, predictor.checkpoint.normaliser)
    missing = {m: np.isnan(rows).any(1) for m, rows in prepared.features.items()}
    present = sum((~rows).astype(int) for rows in missing.values())

    def visible(*modalities: str) -> np.ndarray:
        return predictor.prepared_probabilities(keep_modalities(prepared, modalities), prior)

    alone, without = {}, {}
    for modality in predictor.widths:
        alone[modality] = visible(modality)
        alone[modality][missing[modality]] = np.nan
        without[modality] = visible(*(m for m in predictor.widths if m != modality))
        without[modality][missing[modality] | (present == 1)] = np.nan
    return Evidence(visible(*predictor.widths), alone, without, priors)


def describe(evidence: Evidence, index: int, labels: Sequence[str]) -> dict[str, Any]:
    """Describe the decision on one utterance, as the JSON file holds it.

    Returns:
        emotion, confidence, probabilities; agree: whether the modalities say the same, None if
        fewer than two are present; decisive: the modalities without any of which the emotion would
        be another; modalities: for each present one its own `emotion` and `probabilities`, what
        the others say (`without`), and `shift`, by how much it raises the probability of the
        emotion.
    """
    row = evidence.probabilities[index]
    best = int(row.argmax())
    modalities: dict[str, dict[str, Any]] = {}
    decisive = []
    for modality, rows in evidence.alone.items():
        if np.isnan(rows[index]).any():
            continue
        about = modalities[modality] = _reading(rows[index], labels)
        others = evidence.without[modality][index]
        if not np.isnan(others).any():
            about["without"] = _reading(others, labels)
            about["shift"] = round(float(row[best] - others[best]), 4)
            if int(others.argmax()) != best:
                decisive.append(modality)
    emotions = {about["emotion"] for about in modalities.values()}
    return {
        "emotion": labels[best],
        "confidence": float(row[best]),
        "probabilities": dict(zip(labels, map(float, row), strict=True)),
        "agree": len(emotions) == 1 if len(modalities) > 1 else None,
        "decisive": decisive,
        "modalities": modalities,
    }


def conflicts(
    evidence: Evidence, starts: Sequence[float], labels: Sequence[str], subject: str
) -> list[MercWarning]:
    """Warn where two modalities are sure of different emotions, one warning per pair.

    A modality is sure of an emotion that it gives more than .5 and twice its prior: "neutral",
    which is frequent, needs more evidence than "fear". starts: seconds.
    """
    times: dict[tuple[str, str], list[float]] = {}
    for index, start in enumerate(starts):
        sure = {
            modality: labels[int(rows[index].argmax())]
            for modality, rows in evidence.alone.items()
            # False for a row of NaN
            if (rows[index] > np.maximum(SURE, SURE_RATIO * evidence.prior[modality])).any()
        }
        for one, other in combinations(sure, 2):
            if sure[one] != sure[other]:
                times.setdefault((one, other), []).append(start)
    warnings = []
    for (one, other), starts in times.items():
        text = f"{one} and {other} disagree strongly in {utterances_at(starts)}"
        warnings.append(MercWarning(subject, text))
    return warnings


def _reading(probabilities: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    rounded = [round(float(p), 4) for p in probabilities]
    return {
        "emotion": labels[int(probabilities.argmax())],
        "probabilities": dict(zip(labels, rounded, strict=True)),
    }
