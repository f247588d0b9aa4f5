"""The figures of a run: every seed's best model on valid and test, their means, spreads and intervals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.core.dialogue import Dialogue
from pipeline.training.config import Configuration
from pipeline.training.metrics import HEADLINES, dialogue_confusions, interval, scores
from pipeline.training.predictor import Predictor
from pipeline.training.protocols import Parts, count_labels

__all__ = ["mean_sd", "score_dialogues", "summarise"]


def summarise(
    parts: Parts, config: Configuration, folders: dict[int, Path]
) -> tuple[dict, dict[str, pd.DataFrame]]:
    """(metrics, tables) of the fitted seeds; tables: history, predictions (best seed), predictions-per-seed."""
    labels, per_seed, histories, rows, probabilities = parts.corpus.labels, [], [], [], {}
    counts, parameters = [], 0
    for seed, folder in folders.items():
        predictor = Predictor.load(folder / "model.safetensors")
        parameters = predictor.model.parameter_count()
        log = json.loads((folder / "history.json").read_text("utf-8"))
        histories.append(pd.DataFrame(log["epochs"]).assign(seed=seed))
        tested = [predictor.probabilities(d) for d in parts.test]
        probabilities[seed] = tested
        guesses = [p.argmax(1) for p in tested]
        counts.append(dialogue_confusions([d.labels for d in parts.test], guesses, len(labels)))
        entry = {
            "seed": seed,
            "best_epoch": log["best_epoch"],
            "test": score_dialogues(parts.test, guesses, labels),
        }
        if parts.protocol == "clean":
            entry["valid"] = score_dialogues(
                parts.valid, [predictor.probabilities(d).argmax(1) for d in parts.valid], labels
            )
        per_seed.append(entry)
        for d, guess in zip(parts.test, guesses, strict=True):
            rows += [
                (
                    seed,
                    d.id,
                    d.utterances[k],
                    labels[d.labels[k]] if d.labels[k] >= 0 else "",
                    labels[guess[k]],
                )
                for k in range(len(guess))
            ]
    select = "valid" if parts.protocol == "clean" else "test"
    best = max(range(len(per_seed)), key=lambda k: (per_seed[k][select]["weighted_f1"], -k))
    best_seed = per_seed[best]["seed"]
    train = parts.train(0, config.train.seed)
    metrics: dict[str, Any] = {
        "dataset": parts.corpus.name,
        "protocol": parts.protocol,
        "labels": list(labels),
        "seeds": list(folders),
        "best_seed": best_seed,
        "parameters": parameters,
        "notes": parts.notes,
        "fingerprints": parts.corpus.fingerprints or "unknown",
        "modalities": list(predictor.widths),
        "parts": {
            name: _size(part)
            for name, part in (("train", train), ("valid", parts.valid), ("test", parts.test))
        },
        "per_class": _per_class([e["test"] for e in per_seed], labels),
        "confusion": per_seed[best]["test"]["confusion"],
        "confusion_of": f"seed {best_seed}, the model of this folder; rows are the truth",
        "per_speaker": _per_speaker(parts.test, list(probabilities.values()), labels),
        "majority": _majority(train, parts.test, labels),
        "per_seed": per_seed,
        **{name: mean_sd([e["test"][name] for e in per_seed]) for name in HEADLINES},
    }
    metrics["weighted_f1"]["interval"] = interval(np.stack(counts))
    if parts.protocol == "clean":
        metrics["valid"] = {
            name: mean_sd([e["valid"][name] for e in per_seed]) for name in HEADLINES
        }
    return metrics, {
        "history": pd.concat(histories)[
            ["seed", *[c for c in histories[0].columns if c != "seed"]]
        ],
        "predictions": prediction_table(parts.test, probabilities[best_seed], labels, labels),
        "predictions-per-seed": pd.DataFrame(
            rows, columns=["seed", "dialogue", "utterance", "label", "prediction"]
        ),
    }


def score_dialogues(
    dialogues: list[Dialogue], guesses: list[np.ndarray], labels: tuple[str, ...]
) -> dict[str, Any]:
    truth, guess = np.concatenate([d.labels for d in dialogues]), np.concatenate(guesses)
    return scores(truth[truth >= 0], guess[truth >= 0], labels)


def prediction_table(
    dialogues: list[Dialogue],
    probabilities: list[np.ndarray],
    labels: tuple[str, ...],
    truths: tuple[str, ...],
) -> pd.DataFrame:
    """A row an utterance; `labels` are the model's, `truths` what the dialogues' labels index."""
    rows = []
    for d, p in zip(dialogues, probabilities, strict=True):
        for k, utterance in enumerate(d.utterances):
            best = int(p[k].argmax())
            rows.append(
                [
                    d.id,
                    utterance,
                    d.speakers[k],
                    truths[d.labels[k]] if d.labels[k] >= 0 else "",
                    labels[best],
                    float(p[k, best]),
                    *p[k].tolist(),
                ]
            )
    return pd.DataFrame(
        rows,
        columns=[
            "dialogue",
            "utterance",
            "speaker",
            "label",
            "prediction",
            "confidence",
            *[f"p_{label}" for label in labels],
        ],
    )


def mean_sd(values: list[float]) -> dict[str, float]:
    """sd over seeds (n - 1); 0 for one seed."""
    return {
        "mean": float(np.mean(values)),
        "sd": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0,
    }


def _per_class(seeds: list[dict[str, Any]], labels: tuple[str, ...]) -> dict[str, Any]:
    return {
        label: {
            figure: mean_sd([s["per_class"][label][figure] for s in seeds])
            for figure in ("precision", "recall", "f1")
        }
        | {"support": seeds[0]["per_class"][label]["support"]}
        for label in labels
    }


def _per_speaker(
    dialogues: list[Dialogue], seeds: list[list[np.ndarray]], labels: tuple[str, ...]
) -> dict[str, Any]:
    """Seed-mean weighted F1 of each speaker of the test part, where there are at most ten."""
    names = sorted({s for d in dialogues for s in d.speakers})
    truth = np.concatenate([d.labels for d in dialogues])
    who = np.concatenate([np.array(d.speakers, dtype=object) for d in dialogues])
    found = {}
    if all(
        name.isdigit() for name in names
    ):  # the published MELD counts speakers within a dialogue: no persons
        names = []
    for name in names if len(names) <= 10 else []:
        rows = (who == name) & (truth >= 0)
        if rows.any():
            own = [
                scores(truth[rows], np.concatenate([p.argmax(1) for p in seed])[rows], labels)[
                    "weighted_f1"
                ]
                for seed in seeds
            ]
            found[name] = {"utterances": int(rows.sum()), "weighted_f1": mean_sd(own)}
    return found


def _majority(
    train: list[Dialogue], test: list[Dialogue], labels: tuple[str, ...]
) -> dict[str, Any]:
    """What the constant answer of the most frequent training class gets on test."""
    common = int(count_labels(train, len(labels)).argmax())
    result = score_dialogues(test, [np.full(len(d.labels), common) for d in test], labels)
    return {"label": labels[common]} | {name: result[name] for name in HEADLINES}


def _size(dialogues: list[Dialogue]) -> dict[str, int]:
    return {
        "dialogues": len(dialogues),
        "utterances": sum(len(d.utterances) for d in dialogues),
        "labelled": int(sum((d.labels >= 0).sum() for d in dialogues)),
    }
