"""The files of a run: metrics, predictions, history, card and pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.metrics import ConfusionMatrixDisplay

from pipeline.core.files import write_bytes, write_text
from pipeline.core.render import markdown_table, png
from pipeline.training.config import Configuration, to_yaml
from pipeline.training.metrics import HEADLINES
from pipeline.training.printed_figures import PAPER

__all__ = ["write_run"]

PROTOCOL = {
    "clean": "The epoch was chosen on the valid part; the test part was read once, at the end.",
    "published": "**Leaky, for comparison with printed tables only:** trained on train and valid, and the epoch with "
    "the best *test* score was kept, as the scripts behind the printed tables do.",
}
PICTURES = {
    "losses": "training losses",
    "gamma": "weights through training",
    "confusion": "confusion matrix",
    "per_class_f1": "F1 of each class",
}
NAMES = {
    "accuracy": "accuracy",
    "weighted_f1": "weighted F1",
    "macro_f1": "macro F1",
    "macro_recall": "macro recall",
}


def write_run(
    out: Path,
    metrics: dict[str, Any],
    config: Configuration,
    tables: dict[str, pd.DataFrame] | None = None,
    beside: dict[str, dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Write a run folder beside its model.safetensors, metrics.json last; returns what that holds.

    beside: name -> metrics of another run of the same corpus, set side by side: `published`, `attached`.
    """
    for name, other in (beside or {}).items():
        metrics = metrics | {name: _digest(other)}
        if name == "published":
            metrics["gap"] = {
                figure: other[figure]["mean"] - metrics[figure]["mean"] for figure in HEADLINES
            }
    head = f"# dataset: {metrics['dataset']}, protocol: {metrics['protocol']}, seeds: {len(metrics['seeds'])}\n"
    write_text(out / "config.yaml", head + to_yaml(config))
    if tables is not None:
        for name, table in tables.items():
            write_text(out / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
        for name, image in _pictures(metrics, tables["history"]).items():
            write_bytes(out / f"{name}.png", image)
    write_text(out / "card.md", _card(metrics))
    write_text(
        out / "metrics.json",
        json.dumps(metrics, indent=1, sort_keys=True, ensure_ascii=False) + "\n",
    )
    return metrics


def _digest(run: dict[str, Any]) -> dict[str, Any]:
    """What a report says of a run beside its own, and of the best of its seeds."""
    single = next(entry for entry in run["per_seed"] if entry["seed"] == run["best_seed"])
    return {
        **{name: run[name] for name in HEADLINES},
        "per_class": run["per_class"],
        "single": {name: single["test"][name] for name in HEADLINES} | {"seed": run["best_seed"]},
        **({"attached": run["attached"]} if "attached" in run else {}),
    }


def _side_by_side(metrics: dict[str, Any]) -> str:
    """Protocols beside each other, test part; empty for a clean run alone."""
    leaky = metrics if metrics["protocol"] == "published" else metrics.get("published")
    if leaky is None:
        return ""
    clean = metrics if leaky is not metrics else None
    single = leaky["single"] if clean else _digest(metrics)["single"]
    columns: dict[str, list[str]] = {"": [NAMES[name] for name in HEADLINES]}
    if clean:
        columns["clean"] = [_spread(clean[name]) for name in HEADLINES]
    columns["published (leaky)"] = [_spread(leaky[name]) for name in HEADLINES]
    if clean:
        columns["gap"] = [f"{100 * metrics['gap'][name]:+.2f}" for name in HEADLINES]
    columns[f"published, best single seed ({single['seed']})"] = [
        _percent(single[name]) for name in HEADLINES
    ]
    if "attached" in leaky:
        columns["published, teacher not detached"] = [
            _spread(leaky["attached"][name]) for name in HEADLINES
        ]
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    return "## Protocols side by side\n\n" + markdown_table(list(columns), rows)


def _card(metrics: dict[str, Any]) -> str:
    labels, many = metrics["labels"], len(metrics["seeds"])
    low, high = metrics["weighted_f1"]["interval"]
    columns = {"test": metrics} | ({"valid": metrics["valid"]} if "valid" in metrics else {})
    rows = [
        [
            NAMES[name],
            *(_spread(part[name]) for part in columns.values()),
            _percent(metrics["majority"][name]),
        ]
        for name in HEADLINES
    ]
    parts = [
        [name, *(str(size[k]) for k in ("dialogues", "utterances", "labelled"))]
        for name, size in metrics["parts"].items()
    ]
    classes = [
        [
            label,
            *(_spread(metrics["per_class"][label][k]) for k in ("precision", "recall", "f1")),
            str(metrics["per_class"][label]["support"]),
        ]
        for label in labels
    ]
    seeds = [
        [
            str(e["seed"]),
            str(e["best_epoch"]),
            _percent(e["test"]["accuracy"]),
            _percent(e["test"]["weighted_f1"]),
            _percent(e["valid"]["weighted_f1"]) if "valid" in e else "-",
        ]
        for e in metrics["per_seed"]
    ]
    text = [
        f"# CSS on {metrics['dataset']}\n",
        f"Cross-Space Synergy, {metrics['parameters']:,} parameters, {many} seed{'s' * (many > 1)}; reads "
        f"{', '.join(metrics['modalities'])}. `model.safetensors` is seed {metrics['best_seed']}, the best on "
        f"{'valid' if 'valid' in metrics else 'test'}.\n",
        f"Protocol `{metrics['protocol']}`. {PROTOCOL[metrics['protocol']]}\n",
        "## Figures\n",
        "Per cent; mean ± standard deviation over seeds.\n",
        markdown_table(["", *columns, f"always {metrics['majority']['label']!r} (test)"], rows),
        f"95 % interval of test weighted F1, bootstrap over dialogues crossed with seeds: {_percent(low)} to "
        f"{_percent(high)} (conditional on the {metrics['parts']['test']['dialogues']} dialogues and the speakers of "
        "the test part).\n",
        markdown_table(["class (test)", "precision", "recall", "F1", "support"], classes),
        markdown_table(
            ["seed", "epoch kept", "test accuracy", "test weighted F1", "valid weighted F1"], seeds
        ),
    ]
    if metrics["per_speaker"]:
        text += [
            markdown_table(
                ["speaker (test)", "utterances", "weighted F1"],
                [
                    [name, str(own["utterances"]), _spread(own["weighted_f1"])]
                    for name, own in metrics["per_speaker"].items()
                ],
            )
        ]
    text += [_side_by_side(metrics)]
    if metrics["dataset"] in PAPER:
        text += ["## Beside the paper\n", _beside(metrics)]
    text += ["## Pictures\n", *(f"![{title}]({name}.png)\n" for name, title in PICTURES.items())]
    text += [
        "## Data\n",
        markdown_table(["part", "dialogues", "utterances", "labelled"], parts),
        *(f"- {note}\n" for note in metrics["notes"]),
        _origin(metrics["fingerprints"]),
        "## Use\n",
        "`merc evaluate RUN --dataset TABLE` scores it on another table; `merc compare RUN OTHER` "
        "tests the difference of two runs. Confidences were fitted on the valid part of this corpus; they are "
        "not calibrated for other recordings. Features and labels bring their own terms (openSMILE features: "
        "non-commercial), which hold for this model too.\n",
    ]
    return "\n".join(text)


def _beside(metrics: dict[str, Any]) -> str:
    printed = PAPER[metrics["dataset"]]
    totals = [
        [f"{name} (printed)", f"{a:.2f}", f"{f:.2f}"] for name, (a, f) in printed["total"].items()
    ]
    runs = {metrics["protocol"]: metrics} | (
        {"published": metrics["published"]} if "published" in metrics else {}
    )
    for protocol, part in runs.items():
        totals.append(
            [f"this run, {protocol}", _spread(part["accuracy"]), _spread(part["weighted_f1"])]
        )
        if protocol == "published":
            single = part.get("single") or _digest(part)["single"]
            totals.append(
                [
                    "this run, published, best single seed",
                    *(_percent(single[name]) for name in ("accuracy", "weighted_f1")),
                ]
            )
    header = [
        "class",
        "CSS precision (printed as ACC)",
        "CSS F1 (printed)",
        *(f"{figure}, {protocol}" for protocol in runs for figure in ("precision", "F1")),
    ]
    classes = [
        [
            label,
            f"{p:.2f}",
            f"{f:.2f}",
            *(
                _spread(part["per_class"][label][k])
                for part in runs.values()
                for k in ("precision", "f1")
            ),
        ]
        for label, (p, f) in printed["css"].items()
        if label in metrics["per_class"]
    ]
    return (
        markdown_table(["", "accuracy", "weighted F1"], totals)
        + "\n"
        + markdown_table(header, classes)
        + "\nPrinted figures are the best test epoch of one seed; compare them with protocol `published` only.\n"
    )


def _origin(prints: Any) -> str:
    if prints == "unknown":
        return (
            "- Features: unknown origin (the table has no fingerprints.json); only widths can be checked, and "
            "`merc label` refuses this model.\n"
        )
    return "".join(
        f"- Features, {m}: `{json.dumps(made, sort_keys=True)}`\n" for m, made in prints.items()
    )


def _pictures(metrics: dict[str, Any], history: pd.DataFrame) -> dict[str, bytes]:
    labels = metrics["labels"]
    result = {}
    losses = [("loss1", "L1 fused"), ("loss2", "L2 unimodal"), ("loss3", "L3 distillation")]
    gammas = [(f"gamma{k}", f"γ{k}") for k in (1, 2, 3)]
    for name, columns, ylabel in (("losses", losses, "training loss"), ("gamma", gammas, "weight")):
        figure = Figure(figsize=(9, 3), layout="constrained")
        for axis, (column, title) in zip(figure.subplots(1, 3), columns, strict=True):
            for seed, own in history.groupby("seed"):
                axis.plot(own["epoch"], own[column], label=f"seed {seed}", linewidth=1)
            axis.set(title=title, xlabel="epoch", ylabel=ylabel)
        axis.legend(fontsize="x-small")
        result[name] = png(figure)
    side = max(5.0, 0.7 * len(labels) + 2)
    figure = Figure(figsize=(side, side * 0.85), layout="constrained")
    ConfusionMatrixDisplay(np.array(metrics["confusion"]), display_labels=labels).plot(
        ax=figure.subplots(), xticks_rotation=45
    )
    result["confusion"] = png(figure)
    figure = Figure(figsize=(max(5.0, len(labels)), 3.5), layout="constrained")
    axis = figure.subplots()
    f1 = [metrics["per_class"][label]["f1"] for label in labels]
    axis.bar(range(len(labels)), [v["mean"] for v in f1], yerr=[v["sd"] for v in f1], capsize=3)
    axis.set(xticks=range(len(labels)), ylabel="F1 (test)", ylim=(0, 1))
    axis.set_xticklabels(labels, rotation=30, ha="right")
    result["per_class_f1"] = png(figure)
    return result


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"


def _spread(value: dict[str, float]) -> str:
    return f"{_percent(value['mean'])} ± {_percent(value['sd'])}"
