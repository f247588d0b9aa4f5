"""The tables and the picture of an ablation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pipeline.core.counts import counted
from pipeline.core.render import markdown_table, png
from pipeline.training.ablation_rows import GROUPS, ROWS
from pipeline.training.metrics import holm
from pipeline.training.printed_figures import ABLATIONS

__all__ = ["ablation_markdown", "ablation_plot", "ablation_table"]

FIGURES = ("accuracy", "weighted_f1", "macro_f1")
HEADER = ["", "accuracy", "weighted F1", "macro F1", "valid w-F1", "difference", "p", "p (Holm)"]


def ablation_table(
    runs: dict[str, dict[str, Any]], tests: dict[str, dict[str, Any]], corpus: str
) -> pd.DataFrame:
    """Return one row per run.

    runs: row -> metrics; tests: row -> its comparison with CSS.
    """
    adjusted = dict(zip(tests, holm([test["p"] for test in tests.values()]), strict=True))
    printed = ABLATIONS.get(corpus, {})
    records = []
    for name, run in runs.items():
        test = tests.get(name, {"difference": 0.0, "p": np.nan})
        low, high = run["weighted_f1"]["interval"]
        accuracy, weighted_f1 = printed.get(name, (np.nan, np.nan))
        row = ROWS[name]
        record: dict[str, Any] = {"row": name, "title": row.title, "groups": row.groups}
        for figure in FIGURES:
            record |= {f"{figure}_{kind}": run[figure][kind] for kind in ("mean", "sd")}
        record |= {
            "valid_weighted_f1": run["valid"]["weighted_f1"]["mean"] if "valid" in run else np.nan,
            "low": low,
            "high": high,
            "difference": test["difference"],
            "p": test["p"],
            "p_holm": adjusted.get(name, np.nan),
            "parameters": run["parameters"],
            "printed_accuracy": accuracy,
            "printed_weighted_f1": weighted_f1,
        }
        records.append(record)
    return pd.DataFrame(records)


def ablation_markdown(table: pd.DataFrame, reasons: dict[str, str], css: dict[str, Any]) -> str:
    """Return the report. reasons: row -> why it was not run; css: metrics of the row css."""
    test = css["parts"]["test"]["dialogues"]
    sections = [
        f"# Ablations on {css['dataset']}\n",
        f"Protocol `{css['protocol']}`, {counted(len(css['seeds']), 'seed')}, test part: "
        f"{counted(test, 'dialogue')}. "
        "Per cent, mean ± sd over seeds. Difference of seed-mean weighted F1 to CSS; p by "
        f"approximate randomisation over dialogues, Holm over the {len(table) - 1} rows. p is "
        "conditional on these seeds: a difference within their sd says nothing about other "
        "seeds.\n",
    ]
    printed = bool(table["printed_accuracy"].notna().any())
    header = [*HEADER, "printed (accuracy / w-F1)"] if printed else HEADER
    for group, title in GROUPS.items():
        rows = table[[group in groups.split() for groups in table["groups"]]]
        if len(rows) > 1:
            lines = [_line(row, printed) for row in rows.itertuples()]
            sections += [f"## {title}\n", markdown_table(header, lines)]
    if css["dataset"] == "meld":
        sections.append(
            "The printed visual-only row is the constant answer neutral (1256 of 2610 "
            "utterances).\n"
        )
    if reasons:
        sections.append("## Not run\n")
        sections += [f"- {ROWS[name].title}: {reason}\n" for name, reason in reasons.items()]
    return "\n".join([*sections, "![weighted F1 of every row](ablation.png)\n"])


def ablation_plot(table: pd.DataFrame) -> bytes:
    """Draw the weighted F1 of every row with its interval; return PNG."""
    figure = Figure(figsize=(8, 0.32 * len(table) + 1), layout="constrained")
    axis, positions = figure.subplots(), np.arange(len(table))[::-1]
    mean, low, high = (table[k].to_numpy() for k in ("weighted_f1_mean", "low", "high"))
    errors = np.maximum([mean - low, high - mean], 0)
    axis.errorbar(mean, positions, xerr=errors, fmt="o", capsize=2)
    axis.axvline(mean[0], linewidth=0.8, linestyle=":")
    axis.set(yticks=positions, xlabel="weighted F1 (test), 95 % interval over dialogues and seeds")
    axis.set_yticklabels(table["title"], fontsize="small")
    return png(figure)


def _line(row: Any, printed: bool) -> list[str]:
    line = [row.title]
    for figure in FIGURES:
        mean, sd = getattr(row, f"{figure}_mean"), getattr(row, f"{figure}_sd")
        line.append(f"{100 * mean:.2f}" + (f" ± {100 * sd:.2f}" if sd else ""))
    valid = row.valid_weighted_f1
    line.append("" if np.isnan(valid) else f"{100 * valid:.2f}")
    if row.row == "css":
        line += ["", "", ""]
    else:
        line += [f"{100 * row.difference:+.2f}", f"{row.p:.4f}", f"{row.p_holm:.4f}"]
    if printed:
        line.append(f"{row.printed_accuracy:.2f} / {row.printed_weighted_f1:.2f}")
    return line
