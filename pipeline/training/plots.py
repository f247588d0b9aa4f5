"""Pictures of a run: losses, weights γ, confusion matrix, F1 of each class, reliability."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.calibration import CalibrationDisplay
from sklearn.metrics import ConfusionMatrixDisplay

from pipeline.core.render import png
from pipeline.training.calibration import BINS

__all__ = ["PICTURES", "plot_run"]

PICTURES = {  # name of the file -> title on the card
    "losses": "training losses",
    "gamma": "weights through training",
    "confusion": "confusion matrix",
    "per_class_f1": "F1 of each class",
    "reliability": "reliability diagram",
}
LOSSES = {"loss1": "L1 fused", "loss2": "L2 unimodal", "loss3": "L3 distillation"}
GAMMAS = {"gamma1": "γ1", "gamma2": "γ2", "gamma3": "γ3"}


def plot_run(
    metrics: dict[str, Any], history: pd.DataFrame, predictions: pd.DataFrame
) -> dict[str, bytes]:
    """Draw the pictures of a run; return name -> PNG. predictions: of the test part."""
    css = metrics["model"] == "css"
    titles = LOSSES if css else {name: name for name in LOSSES}  # docs/benchmark.md names them
    return {
        "losses": png(_curves(history, titles, "training loss")),
        "gamma": png(_curves(history, GAMMAS, "weight")),
        "confusion": png(_confusion(metrics["confusion"], metrics["labels"])),
        "per_class_f1": png(_per_class_f1(metrics["per_class"], metrics["labels"])),
        "reliability": png(_reliability(predictions)),
    }


def _curves(history: pd.DataFrame, titles: dict[str, str], ylabel: str) -> Figure:
    """Draw one panel per column of the history, one line per seed."""
    figure = Figure(figsize=(9, 3), layout="constrained")
    for axis, (column, title) in zip(figure.subplots(1, 3), titles.items(), strict=True):
        for seed, rows in history.groupby("seed"):
            axis.plot(rows["epoch"], rows[column], label=f"seed {seed}", linewidth=1)
        axis.set(title=title, xlabel="epoch", ylabel=ylabel)
    axis.legend(fontsize="x-small")
    return figure


def _confusion(confusion: list[list[int]], labels: list[str]) -> Figure:
    side = max(5.0, 0.7 * len(labels) + 2)
    figure = Figure(figsize=(side, side * 0.85), layout="constrained")
    display = ConfusionMatrixDisplay(np.array(confusion), display_labels=labels)
    display.plot(ax=figure.subplots(), xticks_rotation=45)
    return figure


def _per_class_f1(per_class: dict[str, Any], labels: list[str]) -> Figure:
    figure = Figure(figsize=(max(5.0, len(labels)), 3.5), layout="constrained")
    axis = figure.subplots()
    f1 = [per_class[label]["f1"] for label in labels]
    axis.bar(range(len(labels)), [v["mean"] for v in f1], yerr=[v["sd"] for v in f1], capsize=3)
    axis.set(xticks=range(len(labels)), ylabel="F1 (test)", ylim=(0, 1))
    axis.set_xticklabels(labels, rotation=30, ha="right")
    return figure


def _reliability(predictions: pd.DataFrame) -> Figure:
    """Draw the share of correct predictions over their confidence, and how many there are."""
    labelled = predictions[predictions["label"] != ""]
    correct = (labelled["label"] == labelled["prediction"]).astype(int)
    figure = Figure(figsize=(5, 5), layout="constrained")
    axis, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    CalibrationDisplay.from_predictions(
        correct, labelled["confidence"], n_bins=BINS, name="test", ax=axis
    )
    axis.set(xlabel="", ylabel="share correct")
    below.hist(labelled["confidence"], bins=BINS, range=(0, 1))
    below.set(xlabel="confidence", ylabel="utterances")
    return figure
