"""The figures of a run: the best model of every seed, their means, spreads and intervals."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.core.dialogue import Dialogue
from pipeline.core.schemas import History, read_json
from pipeline.training.calibration import BINS, calibration_error
from pipeline.training.config import Configuration
from pipeline.training.metrics import HEADLINES, dialogue_confusions, interval, scores
from pipeline.training.predictor import Predictor
from pipeline.training.protocols import Parts, count_labels

__all__ = [
    "SeedResult",
    "mean_sd",
    "prediction_table",
    "score_dialogues",
    "score_seed",
    "summarise",
]

MAX_SPEAKERS = 10  # with more speakers, their scores are not listed


@dataclass(frozen=True)
class SeedResult:
    """The scores of one seed.

    parameters, modalities, temperatures: of its model. entry: its dict in `per_seed` of
        metrics.json.
    probabilities, confusions: of the test part.
    """

    parameters: int
    modalities: list[str]
    temperatures: dict[str, float]
    entry: dict[str, Any]
    history: pd.DataFrame
    probabilities: list[np.ndarray]
    confusions: np.ndarray

    @property
    def guesses(self) -> list[np.ndarray]:
        return [rows.argmax(1) for rows in self.probabilities]


def score_seed(parts: Parts, seed: int, folder: Path) -> SeedResult:
    """Score a fitted seed. folder: what `fit` wrote."""
    predictor = Predictor.load(folder / "model.safetensors")
    log = read_json(folder / "history.json", History, "delete the run and train again")
    history = pd.DataFrame(log["epochs"])
    history.insert(0, "seed", seed)
    labels = parts.corpus.labels
    probabilities = [predictor.probabilities(d) for d in parts.test]
    guesses = [rows.argmax(1) for rows in probabilities]
    entry = {
        "seed": seed,
        "best_epoch": log["best_epoch"],
        "test": score_dialogues(parts.test, guesses, labels),
        "calibration": _calibration(predictor, parts.test, probabilities),
    }
    if parts.protocol == "clean":
        valid = [predictor.probabilities(d).argmax(1) for d in parts.valid]
        entry["valid"] = score_dialogues(parts.valid, valid, labels)
    return SeedResult(
        predictor.model.parameter_count(),
        list(predictor.widths),
        predictor.checkpoint.temperatures,
        entry,
        history,
        probabilities,
        dialogue_confusions([d.labels for d in parts.test], guesses, len(labels)),
    )


def summarise(
    parts: Parts, config: Configuration, results: list[SeedResult]
) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
    """Summarise the scores of the seeds.

    Returns the metrics, and the tables history, predictions (best seed) and predictions-per-seed.
    """
    labels = parts.corpus.labels
    scored_on = "valid" if parts.protocol == "clean" else "test"
    # the first one among equals
    best = max(results, key=lambda result: result.entry[scored_on]["weighted_f1"])
    best_seed = best.entry["seed"]
    per_seed = [result.entry for result in results]
    test = [entry["test"] for entry in per_seed]
    train = parts.train(0, config.train.seed)
    dialogues = {"train": train, "valid": parts.valid, "test": parts.test}
    metrics: dict[str, Any] = {
        "dataset": parts.corpus.name,
        "model": config.model.name,
        "protocol": parts.protocol,
        "few": parts.few,
        "labels": list(labels),
        "seeds": [result.entry["seed"] for result in results],
        "best_seed": best_seed,
        "parameters": best.parameters,
        "notes": parts.notes,
        "fingerprints": parts.corpus.fingerprints or "unknown",
        "modalities": best.modalities,
        "parts": {name: _size(part) for name, part in dialogues.items()},
        "per_class": _per_class(test, labels),
        "confusion": best.entry["test"]["confusion"],
        "confusion_of": f"seed {best_seed}, the model of this folder; rows are the truth",
        "per_speaker": _per_speaker(parts.test, [r.probabilities for r in results], labels),
        "majority": _majority(train, parts.test, labels),
        "per_seed": per_seed,
        "temperatures": best.temperatures,
        "calibration": {
            "bins": BINS,
            **{
                name: mean_sd([entry["calibration"][name] for entry in per_seed])
                for name in ("error", "error_without_temperatures")
            },
        },
        **{name: mean_sd([entry[name] for entry in test]) for name in HEADLINES},
    }
    metrics["weighted_f1"]["interval"] = interval(np.stack([r.confusions for r in results]))
    if parts.protocol == "clean":
        valid = [entry["valid"] for entry in per_seed]
        metrics["valid"] = {name: mean_sd([entry[name] for entry in valid]) for name in HEADLINES}
    return metrics, {
        "history": pd.concat([result.history for result in results]),
        "predictions": prediction_table(parts.test, best.probabilities, labels),
        "predictions-per-seed": _predictions_per_seed(parts.test, results, labels),
    }


def score_dialogues(
    dialogues: list[Dialogue], guesses: list[np.ndarray], labels: tuple[str, ...]
) -> dict[str, Any]:
    """Score the labelled utterances of dialogues; guesses: (n,) label indices of each."""
    truth, guess = np.concatenate([d.labels for d in dialogues]), np.concatenate(guesses)
    return scores(truth[truth >= 0], guess[truth >= 0], labels)


def prediction_table(
    dialogues: list[Dialogue], probabilities: list[np.ndarray], labels: tuple[str, ...]
) -> pd.DataFrame:
    """Return one row per utterance: label, prediction, and every probability."""
    rows = []
    for dialogue, of_dialogue in zip(dialogues, probabilities, strict=True):
        for k, utterance in enumerate(dialogue.utterances):
            best = int(of_dialogue[k].argmax())
            row = [dialogue.id, utterance, dialogue.speakers[k], _name(dialogue.labels[k], labels)]
            rows.append([*row, labels[best], float(of_dialogue[k, best]), *of_dialogue[k].tolist()])
    columns = ["dialogue", "utterance", "speaker", "label", "prediction", "confidence"]
    return pd.DataFrame(rows, columns=[*columns, *(f"p_{label}" for label in labels)])


def mean_sd(values: list[float]) -> dict[str, float]:
    """Return mean and standard deviation (n - 1) over seeds; sd is 0 for one seed.

    >>> mean_sd([0.5, 0.5])
    {'mean': 0.5, 'sd': 0.0}
    """
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "sd": sd}


def _calibration(
    predictor: Predictor, dialogues: list[Dialogue], probabilities: list[np.ndarray]
) -> dict[str, float]:
    """Return the expected calibration error with and without the temperatures."""
    plain = copy(predictor)
    plain.checkpoint = replace(predictor.checkpoint, temperatures={})
    truth = np.concatenate([d.labels for d in dialogues])
    errors = {}
    for name, rows in (
        ("error", probabilities),
        ("error_without_temperatures", [plain.probabilities(d) for d in dialogues]),
    ):
        labelled = np.concatenate(rows)[truth >= 0]
        correct = labelled.argmax(1) == truth[truth >= 0]
        errors[name] = calibration_error(labelled.max(1), correct)
    return errors


def _predictions_per_seed(
    dialogues: list[Dialogue], results: list[SeedResult], labels: tuple[str, ...]
) -> pd.DataFrame:
    rows = []
    for result in results:
        for dialogue, guess in zip(dialogues, result.guesses, strict=True):
            for k, utterance in enumerate(dialogue.utterances):
                truth = _name(dialogue.labels[k], labels)
                rows.append((result.entry["seed"], dialogue.id, utterance, truth, labels[guess[k]]))
    return pd.DataFrame(rows, columns=["seed", "dialogue", "utterance", "label", "prediction"])


def _name(label: int, labels: tuple[str, ...]) -> str:
    return labels[label] if label >= 0 else ""


def _per_class(test: list[dict[str, Any]], labels: tuple[str, ...]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for label in labels:
        of_seeds = [entry["per_class"][label] for entry in test]
        result[label] = {
            figure: mean_sd([figures[figure] for figures in of_seeds])
            for figure in ("precision", "recall", "f1")
        }
        result[label]["support"] = of_seeds[0]["support"]
    return result


def _per_speaker(
    dialogues: list[Dialogue], seeds: list[list[np.ndarray]], labels: tuple[str, ...]
) -> dict[str, Any]:
    """Return the seed-mean weighted F1 of each speaker, if there are few enough of them.

    The published MELD numbers its speakers within a dialogue, so digits do not name persons.
    """
    names = sorted({speaker for d in dialogues for speaker in d.speakers})
    if len(names) > MAX_SPEAKERS or all(name.isdigit() for name in names):
        return {}
    truth = np.concatenate([d.labels for d in dialogues])
    speakers = np.concatenate([np.array(d.speakers, dtype=object) for d in dialogues])
    guesses = [np.concatenate([rows.argmax(1) for rows in seed]) for seed in seeds]
    result = {}
    for name in names:
        use = (speakers == name) & (truth >= 0)
        if use.any():
            f1 = [scores(truth[use], guess[use], labels)["weighted_f1"] for guess in guesses]
            result[name] = {"utterances": int(use.sum()), "weighted_f1": mean_sd(f1)}
    return result


def _majority(
    train: list[Dialogue], test: list[Dialogue], labels: tuple[str, ...]
) -> dict[str, Any]:
    """Score the constant answer of the most frequent training class on test."""
    most_frequent = int(count_labels(train, len(labels)).argmax())
    guesses = [np.full(len(d.labels), most_frequent) for d in test]
    result = score_dialogues(test, guesses, labels)
    return {"label": labels[most_frequent]} | {name: result[name] for name in HEADLINES}


def _size(dialogues: list[Dialogue]) -> dict[str, int]:
    return {
        "dialogues": len(dialogues),
        "utterances": sum(len(d.utterances) for d in dialogues),
        "labelled": int(sum((d.labels >= 0).sum() for d in dialogues)),
    }
