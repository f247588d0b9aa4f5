"""What a fine-tuning came to: figures over seeds beside what it had to beat, curves, predictions."""

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
    lines: Lines, found: list[dict[str, Any]], before: dict[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
    """(metrics, tables) of the seeds in `found`; before: what logistic regression on the frozen encoder says.

    valid chose the epoch of each seed and the best seed; test, where there is one, is read here and chooses nothing.
    """
    splits = [split for split in lines.parts if lines.parts[split]]
    truth = {split: lines.truth(split) for split in splits}
    guess = {
        one["seed"]: {split: np.array(one["probabilities"][split]).argmax(1) for split in splits}
        for one in found
    }
    usual = Counter(truth["train"].tolist()).most_common(1)[0][0]
    baselines = {
        "majority": {
            split: scores(truth[split], np.full(len(truth[split]), usual), lines.labels)
            for split in splits
        },
        "frozen encoder, logistic regression": {
            split: scores(truth[split], before[split], lines.labels) for split in splits
        },
    }
    per_seed = [
        {
            "seed": one["seed"],
            "best_epoch": one["best_epoch"],
            **{
                split: scores(truth[split], guess[one["seed"]][split], lines.labels)
                for split in splits
            },
            "probe": {
                split: _headlines(truth[split], np.array(one["probe"][split]), lines)
                for split in splits
            },
        }
        for one in found
    ]
    best = max(range(len(per_seed)), key=lambda k: (per_seed[k]["valid"]["weighted_f1"], -k))
    metrics: dict[str, Any] = {
        "dataset": lines.name,
        "labels": list(lines.labels),
        "seeds": [one["seed"] for one in found],
        "best_seed": per_seed[best]["seed"],
        "notes": lines.notes,
        "parts": {
            split: {
                "dialogues": len({line.dialogue for line in lines.parts[split]}),
                "utterances": len(lines.parts[split]),
            }
            for split in splits
        },
        "baselines": baselines,
        "per_seed": per_seed,
        **{
            split: {name: mean_sd([one[split][name] for one in per_seed]) for name in HEADLINES}
            for split in splits
        },
        "probe": {
            split: {
                name: mean_sd([one["probe"][split][name] for one in per_seed]) for name in HEADLINES
            }
            for split in splits
        },
        "against_frozen": {
            split: _against(
                lines,
                split,
                truth[split],
                before[split],
                [guess[one["seed"]][split] for one in found],
            )
            for split in splits
            if split != "train"
        },
    }
    rows = []
    for split in splits:
        for k, line in enumerate(lines.parts[split] if split != "train" else []):
            rows += [
                (
                    one["seed"],
                    split,
                    line.dialogue,
                    line.utterance,
                    lines.labels[line.label],
                    lines.labels[guess[one["seed"]][split][k]],
                    *one["probabilities"][split][k],
                )
                for one in found
            ]
    head = [
        "seed",
        "split",
        "dialogue",
        "utterance",
        "label",
        "prediction",
        *(f"p_{name}" for name in lines.labels),
    ]
    history = pd.concat(
        [pd.DataFrame(one["epochs"]).assign(seed=one["seed"]) for one in found], ignore_index=True
    )
    return metrics, {"predictions": pd.DataFrame(rows, columns=head), "curves": history}


def write_report(
    out: Path, metrics: dict[str, Any], tables: dict[str, pd.DataFrame], settings: str
) -> None:
    """config.yaml, predictions.csv, curves.csv and .png; metrics.json last, which says that all is there."""
    head = f"# {metrics['model']}, {metrics['method']}, dataset: {metrics['dataset']}, seeds: {len(metrics['seeds'])}\n"
    write_text(out / "config.yaml", head + settings)
    for name, table in tables.items():
        write_text(out / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
    write_bytes(out / "curves.png", _curves(metrics, tables["curves"]))
    write_text(
        out / "metrics.json",
        json.dumps(metrics, indent=1, sort_keys=True, ensure_ascii=False) + "\n",
    )


def _headlines(truth: np.ndarray, guess: np.ndarray, lines: Lines) -> dict[str, float]:
    every = scores(truth, guess, lines.labels)
    return {name: every[name] for name in HEADLINES}


def _against(
    lines: Lines, split: str, truth: np.ndarray, frozen: np.ndarray, guesses: list[np.ndarray]
) -> dict[str, Any]:
    """Difference of seed-mean weighted F1 to the frozen encoder's, paired over dialogues; in how many seeds it wins."""
    ids = np.array([line.dialogue for line in lines.parts[split]])
    rows = [np.flatnonzero(ids == name) for name in dict.fromkeys(ids.tolist())]

    def counts(guess: np.ndarray) -> np.ndarray:
        return dialogue_confusions(
            [truth[k] for k in rows], [guess[k] for k in rows], len(lines.labels)
        )

    theirs = scores(truth, frozen, lines.labels)["weighted_f1"]
    wins = sum(scores(truth, guess, lines.labels)["weighted_f1"] > theirs for guess in guesses)
    return {
        **randomisation_test(
            np.stack([counts(guess) for guess in guesses]),
            np.stack([counts(frozen)] * len(guesses)),
        ),
        "better_seeds": wins,
    }


def _curves(metrics: dict[str, Any], curves: pd.DataFrame) -> bytes:
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for seed, own in curves.groupby("seed"):
        line = left.plot(own["epoch"], own["loss"], linewidth=1, label=f"seed {seed}, train")[0]
        left.plot(
            own["epoch"], own["valid_loss"], linewidth=1, linestyle="--", color=line.get_color()
        )
        right.plot(
            own["epoch"], own["valid_weighted_f1"], linewidth=1, marker=".", color=line.get_color()
        )
    for axis in (left, right):
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.set(xlabel="epoch", ylabel="loss (dashed: valid)")
    left.legend(fontsize="x-small")
    for (name, parts), style in zip(metrics["baselines"].items(), (":", "--"), strict=True):
        right.axhline(
            parts["valid"]["weighted_f1"], color="grey", linestyle=style, linewidth=1, label=name
        )
    right.set(xlabel="epoch", ylabel="weighted F1 (valid)")
    right.legend(fontsize="x-small")
    return png(figure)
