"""Test whether one run is better than another on the same test dialogues."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.core.counts import counted
from pipeline.core.errors import MercError
from pipeline.core.os_errors import cause_of
from pipeline.core.schemas import Metrics, read_json
from pipeline.core.spreadsheet import check_width
from pipeline.training.metrics import dialogue_confusions, interval, randomisation_test

__all__ = ["compare", "confusions_of_run"]

PREDICTIONS = ("seed", "dialogue", "utterance", "label", "prediction")


def compare(first: Path, second: Path, draws: int = 10_000) -> dict[str, Any]:
    """Test the difference of the seed-mean weighted F1, first - second.

    Approximate randomisation: a dialogue's predictions are swapped for all seeds together;
    p = (k + 1) / (draws + 1), two-sided.

    Args:
        first, second: run folders.

    Returns:
        metric ("weighted_f1"); difference, first minus second; better ("first", "second", or None
        if they are equal); p, draws, seeds; first and second with run, protocol, seeds, mean, sd
        and interval; warning, if the runs differ in their number of seeds.

    Raises:
        MercError: no finished run, other labels, or other test utterances.
    """
    metrics_of = [_metrics(run) for run in (first, second)]
    labels, other_labels = (list(metrics["labels"]) for metrics in metrics_of)
    if set(labels) != set(other_labels):
        raise MercError(
            f"{first} and {second}: different labels: {', '.join(labels)} and "
            f"{', '.join(other_labels)}",
            "compare runs of one corpus",
        )
    tables = [_predictions(run, labels) for run in (first, second)]
    _check_same_utterances(first, second, tables)
    counts = [confusions_of_run(table, labels) for table in tables]
    seeds = min(len(count) for count in counts)
    test = randomisation_test(counts[0][:seeds], counts[1][:seeds], draws)
    result: dict[str, Any] = {"metric": "weighted_f1", **test}
    difference = result["difference"]
    result["better"] = ("first" if difference > 0 else "second") if difference else None
    names, runs = ("first", "second"), (first, second)
    for name, run, metrics, count in zip(names, runs, metrics_of, counts, strict=True):
        result[name] = {
            "run": Path(run).resolve().name,
            "protocol": metrics["protocol"],
            "seeds": len(count),
            **{k: metrics["weighted_f1"][k] for k in ("mean", "sd")},
            "interval": interval(count),
        }
    result["seeds"] = seeds
    if len({len(count) for count in counts}) > 1:
        result["warning"] = (
            f"the runs differ in seeds; only the first {counted(seeds, 'seed')} of each "
            f"{'is' if seeds == 1 else 'are'} compared"
        )
    return result


def confusions_of_run(table: pd.DataFrame, labels: list[str]) -> np.ndarray:
    """Count the predictions in predictions-per-seed.csv.

    Returns (seeds, dialogues, classes, classes), seeds in rising order, dialogues by name.
    """
    index = {label: k for k, label in enumerate(labels)} | {"": -1}
    counts = []
    for _, of_seed in table.groupby("seed", sort=True):
        dialogues = [rows for _, rows in of_seed.groupby("dialogue", sort=True)]
        truths = [rows["label"].map(index).to_numpy() for rows in dialogues]
        guesses = [rows["prediction"].map(index).to_numpy() for rows in dialogues]
        counts.append(dialogue_confusions(truths, guesses, len(labels)))
    return np.stack(counts)


def _check_same_utterances(first: Path, second: Path, tables: list[pd.DataFrame]) -> None:
    truths = []
    for table in tables:
        one_seed = table[table["seed"] == table["seed"].iloc[0]]
        columns = one_seed[["dialogue", "utterance", "label"]]
        truths.append(columns.sort_values(["dialogue", "utterance"], ignore_index=True))
    if truths[0].equals(truths[1]):
        return
    differing = set(map(tuple, truths[0].to_numpy())) ^ set(map(tuple, truths[1].to_numpy()))
    example = min(differing) if differing else "(repeated ones)"
    raise MercError(
        f"{first} and {second}: not tested on the same utterances: {len(differing)} differ, such "
        f"as {example}",
        "train both on the same corpus with the same data.split_seed",
    )


def _metrics(run: Path) -> dict[str, Any]:
    remedy = "name the folder of a finished run"
    try:
        return read_json(Path(run) / "metrics.json", Metrics, remedy)
    except (OSError, MercError) as error:
        if isinstance(error, OSError):
            reason = "it has no metrics.json" if Path(run).is_dir() else "no such folder"
        else:
            reason = error.reason
        raise MercError(f"{run}: no finished run of merc train: {reason}", remedy) from error


def _predictions(run: Path, labels: list[str]) -> pd.DataFrame:
    path = Path(run) / "predictions-per-seed.csv"
    try:
        check_width(path)
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        missing = [column for column in PREDICTIONS if column not in table]
        if missing or table.empty:
            raise ValueError(f"no column {', '.join(missing)}" if missing else "no rows")
        unknown = set(table["label"]) - {*labels, ""} | set(table["prediction"]) - set(labels)
        if unknown:
            raise ValueError(f"{min(unknown)!r} is no label of this run")
        utterances = [
            sorted(zip(rows["dialogue"], rows["utterance"], rows["label"], strict=True))
            for _, rows in table.groupby("seed")
        ]
        if any(other != utterances[0] for other in utterances):
            raise ValueError("its seeds have different utterances")
        return table.assign(seed=table["seed"].astype(int))
    except (OSError, ValueError, OverflowError) as error:
        reason = cause_of(error) if isinstance(error, OSError) else error
        raise MercError(
            f"{path}: not the predictions of a run ({reason})", "train the run again"
        ) from error
