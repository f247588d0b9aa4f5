"""`merc compare`: is one run better than another on the same test dialogues?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.training.metrics import dialogue_confusions, interval, randomisation_test

__all__ = ["compare", "confusions_of_run"]


def compare(first: Path, second: Path, draws: int = 10_000) -> dict[str, Any]:
    """Approximate randomisation on the difference of seed-mean weighted F1, first - second.

    A dialogue's predictions are swapped for all seeds together; p = (k + 1) / (draws + 1), two-sided.
    Raises ValueError when the runs were not tested on the same utterances or differ in seeds.
    """
    labels = _labels(first)
    if set(labels) != set(_labels(second)):
        raise ValueError(
            f"{first} and {second} have different labels: {', '.join(labels)} and "
            f"{', '.join(_labels(second))}"
        )
    tables = [_predictions(run) for run in (first, second)]
    truths = [
        t[t["seed"] == t["seed"].iloc[0]][["dialogue", "utterance", "label"]].sort_values(
            ["dialogue", "utterance"], ignore_index=True
        )
        for t in tables
    ]
    if not truths[0].equals(truths[1]):
        odd = set(map(tuple, truths[0].to_numpy())) ^ set(map(tuple, truths[1].to_numpy()))
        raise ValueError(
            f"{first} and {second} were not tested on the same utterances: {len(odd)} differ, such as "
            f"{min(odd) if odd else '(repeated ones)'}; train both on the same corpus and split_seed"
        )
    counts = [confusions_of_run(t, labels) for t in tables]
    seeds = min(len(c) for c in counts)
    result: dict[str, Any] = randomisation_test(counts[0][:seeds], counts[1][:seeds], draws)
    for name, run, count in zip(("first", "second"), (first, second), counts, strict=True):
        values = json.loads((Path(run) / "metrics.json").read_text("utf-8"))
        result[name] = {
            "run": Path(run).resolve().name,
            "protocol": values["protocol"],
            "seeds": len(count),
            **{k: values["weighted_f1"][k] for k in ("mean", "sd")},
            "interval": interval(count),
        }
    result["seeds"] = seeds
    if len({len(c) for c in counts}) > 1:
        result["warning"] = f"the runs differ in seeds; the first {seeds} of each are compared"
    return result


def confusions_of_run(table: pd.DataFrame, labels: list[str]) -> np.ndarray:
    """(seeds, dialogues, classes, classes) of predictions-per-seed; dialogues in the order of their names."""
    number = {label: k for k, label in enumerate(labels)} | {"": -1}
    counts = []
    for _, own in table.groupby("seed", sort=True):
        groups = [part for _, part in own.groupby("dialogue", sort=True)]
        counts.append(
            dialogue_confusions(
                [part["label"].map(number).to_numpy() for part in groups],
                [part["prediction"].map(number).to_numpy() for part in groups],
                len(labels),
            )
        )
    return np.stack(counts)


def _labels(run: Path) -> list[str]:
    try:
        return list(json.loads((Path(run) / "metrics.json").read_text("utf-8"))["labels"])
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{run}: no finished run of merc train ({error})") from error


def _predictions(run: Path) -> pd.DataFrame:
    path = Path(run) / "predictions-per-seed.csv"
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        return table.assign(seed=table["seed"].astype(int))
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path}: not the predictions of a run ({error})") from error
