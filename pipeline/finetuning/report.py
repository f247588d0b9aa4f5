"""The report of a fine-tuning: figures over seeds beside their baselines, curves, predictions."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline.core.files import write_bytes, write_text
from pipeline.core.render import png
from pipeline.finetuning.lines import Lines
from pipeline.training.metrics import HEADLINES, dialogue_confusions, randomisation_test, scores
from pipeline.training.summary import mean_sd

__all__ = ["summarise", "write_report"]


def summarise(
    lines: Lines, results: list[dict[str, Any]], before: dict[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
    """Return (metrics, tables) of all seeds.

    valid chose the epoch of each seed and the best seed. test, if there is one, is read only here
    and chooses nothing.

    Args:
        results: per seed: seed, best_epoch, epochs, and by split probabilities and probe.
        before: by split, the labels that logistic regression gives on the original encoder.
    """
    splits = [split for split in lines.parts if lines.parts[split]]
    truth = {split: lines.truth(split) for split in splits}
    majority = Counter(truth["train"].tolist()).most_common(1)[0][0]
    constant = {split: np.full(len(truth[split]), majority) for split in splits}
    guesses = [
        {split: np.array(result["probabilities"][split]).argmax(1) for split in splits}
        for result in results
    ]
    per_seed = []
    for result, guess in zip(results, guesses, strict=True):
        probe = {split: np.array(result["probe"][split]) for split in splits}
        figures = {name: result[name] for name in ("seed", "best_epoch")}
        figures |= _scores(lines, truth, guess)
        figures["probe"] = {
            split: {name: every[name] for name in HEADLINES}
            for split, every in _scores(lines, truth, probe).items()
        }
        per_seed.append(figures)
    best = max(range(len(per_seed)), key=lambda k: (per_seed[k]["valid"]["weighted_f1"], -k))
    metrics = {
        "dataset": lines.name,
        "labels": list(lines.labels),
        "seeds": [figures["seed"] for figures in per_seed],
        "best_seed": per_seed[best]["seed"],
        "notes": lines.notes,
        "parts": {split: _size(lines, split) for split in splits},
        "baselines": {
            "majority": _scores(lines, truth, constant),
            "frozen encoder, logistic regression": _scores(lines, truth, before),
        },
        "per_seed": per_seed,
        **{split: _means([figures[split] for figures in per_seed]) for split in splits},
        "probe": {
            split: _means([figures["probe"][split] for figures in per_seed]) for split in splits
        },
        "against_frozen": {
            split: _compare(lines, split, before[split], [guess[split] for guess in guesses])
            for split in splits
            if split != "train"
        },
    }
    history = [pd.DataFrame(result["epochs"]).assign(seed=result["seed"]) for result in results]
    tables = {
        "predictions": _predictions(lines, results, guesses),
        "curves": pd.concat(history, ignore_index=True),
    }
    return metrics, tables


def write_report(
    out: Path, metrics: dict[str, Any], tables: dict[str, pd.DataFrame], settings: str
) -> None:
    """Write config.yaml, predictions.csv, curves.csv, curves.png and, last, metrics.json."""
    head = (
        f"# {metrics['model']}, {metrics['method']}, dataset: {metrics['dataset']}, "
        f"seeds: {len(metrics['seeds'])}\n"
    )
    write_text(out / "config.yaml", head + settings)
    for name, table in tables.items():
        write_text(out / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
    write_bytes(out / "curves.png", _curves(metrics, tables["curves"]))
    content = json.dumps(metrics, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    write_text(out / "metrics.json", content)


def _scores(
    lines: Lines, truth: dict[str, np.ndarray], guess: dict[str, np.ndarray]
) -> dict[str, dict[str, Any]]:
    """Return all figures of each split."""
    return {split: scores(truth[split], guess[split], lines.labels) for split in truth}


def _means(figures: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return mean and standard deviation of the headline figures over seeds."""
    return {name: mean_sd([every[name] for every in figures]) for name in HEADLINES}


def _size(lines: Lines, split: str) -> dict[str, int]:
    part = lines.parts[split]
    return {"dialogues": len({line.dialogue for line in part}), "utterances": len(part)}


def _predictions(
    lines: Lines, results: list[dict[str, Any]], guesses: list[dict[str, np.ndarray]]
) -> pd.DataFrame:
    """Return one row per utterance of valid and test and per seed."""
    rows = []
    for split in guesses[0]:
        if split == "train":
            continue
        for k, line in enumerate(lines.parts[split]):
            for result, guess in zip(results, guesses, strict=True):
                names = lines.labels[line.label], lines.labels[guess[split][k]]
                probabilities = result["probabilities"][split][k]
                place = result["seed"], split, line.dialogue, line.utterance
                rows.append((*place, *names, *probabilities))
    columns = ["seed", "split", "dialogue", "utterance", "label", "prediction"]
    return pd.DataFrame(rows, columns=[*columns, *(f"p_{name}" for name in lines.labels)])


def _compare(
    lines: Lines, split: str, frozen: np.ndarray, guesses: list[np.ndarray]
) -> dict[str, Any]:
    """Compare weighted F1 with the frozen encoder's by a randomisation test, paired by dialogue.

    `better_seeds` counts the seeds with a higher weighted F1.
    """
    truth = lines.truth(split)
    ids = np.array([line.dialogue for line in lines.parts[split]])
    dialogues = [np.flatnonzero(ids == name) for name in dict.fromkeys(ids.tolist())]
    by_dialogue = [truth[rows] for rows in dialogues]

    def confusions(guess: np.ndarray) -> np.ndarray:
        return dialogue_confusions(
            by_dialogue, [guess[rows] for rows in dialogues], len(lines.labels)
        )

    def weighted_f1(guess: np.ndarray) -> float:
        return scores(truth, guess, lines.labels)["weighted_f1"]

    result = randomisation_test(
        np.stack([confusions(guess) for guess in guesses]),
        np.stack([confusions(frozen)] * len(guesses)),
    )
    better = sum(weighted_f1(guess) > weighted_f1(frozen) for guess in guesses)
    return {**result, "better_seeds": better}


def _curves(metrics: dict[str, Any], curves: pd.DataFrame) -> bytes:
    """Plot losses and weighted F1 by epoch as a PNG."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    thin = {"linewidth": 1}
    for seed, rows in curves.groupby("seed"):
        line = left.plot(rows["epoch"], rows["loss"], label=f"seed {seed}, train", **thin)[0]
        color = line.get_color()
        left.plot(rows["epoch"], rows["valid_loss"], linestyle="--", color=color, **thin)
        right.plot(rows["epoch"], rows["valid_weighted_f1"], marker=".", color=color, **thin)
    for axis in (left, right):
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.set(xlabel="epoch", ylabel="loss (dashed: valid)")
    left.legend(fontsize="x-small")
    for (name, parts), style in zip(metrics["baselines"].items(), (":", "--"), strict=True):
        height = parts["valid"]["weighted_f1"]
        right.axhline(height, color="grey", linestyle=style, label=name, **thin)
    right.set(xlabel="epoch", ylabel="weighted F1 (valid)")
    right.legend(fontsize="x-small")
    return png(figure)
