"""Write the files of a run: metrics, predictions, history, card and pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.core.files import write_bytes, write_text
from pipeline.core.run_folder import METRICS
from pipeline.training.card import run_card
from pipeline.training.config import Configuration, to_yaml
from pipeline.training.metrics import HEADLINES, best_single_seed
from pipeline.training.plots import plot_run

__all__ = ["write_run"]


def write_run(
    out: Path,
    metrics: dict[str, Any],
    config: Configuration,
    tables: dict[str, pd.DataFrame] | None = None,
    beside: dict[str, dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Write everything but the model into a run folder, metrics.json last.

    Args:
        tables: of `summarise`; None if they and the pictures are already written.
        beside: metrics of other runs on the same corpus to report next to this one, by name:
            "published" or "attached".

    Returns:
        The content of metrics.json.
    """
    for name, other in (beside or {}).items():
        metrics = metrics | {name: _digest(other)}
        if name == "published":
            metrics["gap"] = {
                figure: other[figure]["mean"] - metrics[figure]["mean"] for figure in HEADLINES
            }
    header = (
        f"# dataset: {metrics['dataset']}, protocol: {metrics['protocol']}, "
        f"seeds: {len(metrics['seeds'])}\n"
    )
    write_text(out / "config.yaml", header + to_yaml(config))
    if tables is not None:
        for name, table in tables.items():
            write_text(out / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
        for name, image in plot_run(metrics, tables["history"], tables["predictions"]).items():
            write_bytes(out / f"{name}.png", image)
    write_text(out / "card.md", run_card(metrics))
    text = json.dumps(metrics, indent=1, sort_keys=True, ensure_ascii=False)
    write_text(out / METRICS, text + "\n")
    return metrics


def _digest(run: dict[str, Any]) -> dict[str, Any]:
    """Return what a report says about a run next to its own."""
    return {
        **{name: run[name] for name in HEADLINES},
        "per_class": run["per_class"],
        "single": best_single_seed(run),
        **({"attached": run["attached"]} if "attached" in run else {}),
    }
