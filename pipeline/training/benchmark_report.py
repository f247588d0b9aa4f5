"""The tables and the picture of a benchmark: Markdown, CSV, LaTeX, PNG."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pipeline.core.counts import counted
from pipeline.core.dialogue import Corpus
from pipeline.core.files import write_bytes, write_text
from pipeline.core.render import markdown_table, png
from pipeline.training.printed_figures import PAPER, printed_classes

__all__ = ["BenchmarkRows", "write_report"]

HEADLINES = ("accuracy", "weighted_f1", "macro_f1")
CLASS_FIGURES = {"precision": "Precision", "recall": "Recall", "f1": "F1"}
PROTOCOLS = {
    "clean": "The epoch was chosen on the valid part; the test part was read once, at the end.",
    "published": "**Leaky, for comparison with printed tables only:** trained on train and valid, "
    "and the epoch with the best *test* score was kept. css-attached is CSS with the teacher of L3 "
    "not detached, as in SDT.",
}


@dataclass(frozen=True)
class BenchmarkRows:
    """The finished models of one protocol.

    metrics: model -> metrics.json of its run. tests: model -> its comparison with CSS, with p_holm.
    costs: model -> step_seconds, memory_bytes, and step and memory relative to SDT.
    """

    protocol: str
    metrics: dict[str, dict[str, Any]]
    tests: dict[str, dict[str, Any]]
    costs: dict[str, dict[str, float]]

    def figures(self, name: str) -> dict[str, Any]:
        """Return the figures of a model, as benchmark.json holds them."""
        run, test = self.metrics[name], self.tests.get(name, {})
        return {
            "parameters": run["parameters"],
            **{figure: run[figure] for figure in HEADLINES},
            **self.costs.get(name, {}),
            **{key: test[key] for key in ("difference", "p", "p_holm") if key in test},
        }


def write_report(
    out: Path,
    corpus: Corpus,
    seeds: int,
    tables: list[BenchmarkRows],
    errors: dict[str, str],
    waiting: list[str],
) -> None:
    """Write benchmark.md, benchmark.tex, benchmark.csv, classes.csv and a picture per protocol.

    errors: model -> why it failed. waiting: the models that are not finished.
    """
    runs = [run for rows in tables for run in rows.metrics.values()]
    modalities = runs[0]["modalities"] if runs else list(corpus.widths)
    sections = [_introduction(corpus.name, seeds, modalities)]
    latex, headlines, classes = [], [], []
    for rows in tables:
        if not rows.metrics:
            continue
        sections += [f"## Protocol `{rows.protocol}`\n", PROTOCOLS[rows.protocol] + "\n"]
        for title, frame in _frames(rows, corpus).items():
            if title:
                sections.append(f"### {title}\n")
            sections.append(markdown_table(list(frame.columns), frame.to_numpy().tolist()))
            caption = f"{corpus.name}, protocol {rows.protocol}: {title or 'all figures'}"
            latex.append(frame.to_latex(index=False, escape=True, caption=caption))
        picture = f"{rows.protocol}.png"
        write_bytes(out / picture, _forest(rows))
        sections.append(f"![weighted F1 of every model]({picture})\n")
        headlines += [_headline_record(rows, name, corpus) for name in rows.metrics]
        classes += _class_records(rows, corpus)
    if errors:
        sections.append("## Failed\n")
        sections.append("".join(f"- {name}: {reason}\n" for name, reason in errors.items()))
    if waiting:
        sections.append(
            f"## Not finished\n\n{', '.join(waiting)}. Repeat the command to continue.\n"
        )
    write_text(out / "benchmark.md", "\n".join(sections))
    write_text(out / "benchmark.tex", "\n".join(latex))
    for name, records in (("benchmark", headlines), ("classes", classes)):
        table = pd.DataFrame(records)
        write_text(out / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))


def _introduction(corpus: str, seeds: int, modalities: list[str]) -> str:
    one = (
        "\n\nThere is one modality. What a model does across modalities has nothing to work "
        "on here: the table compares how they use context and speakers."
    )
    return (
        f"# Benchmark on {corpus}\n\n"
        f"{counted(seeds, 'seed')}; {', '.join(modalities)}. Per cent, mean ± "
        "standard deviation over seeds. Interval: 95 %, bootstrap over test dialogues crossed with "
        "seeds. Difference: seed-mean weighted F1 minus that of CSS; p by approximate "
        "randomisation over dialogues, Holm over the models; it is conditional on these seeds. "
        "Step and memory: one training step on 32 dialogues relative to SDT, measured one after "
        "another before the training."
        + one * (len(modalities) == 1)
        + (
            "\n\nIn brackets: printed in the CSS paper, with its errors corrected; the best test "
            "epoch of one seed, so to be compared with protocol `published` only."
            if corpus in PAPER
            else ""
        )
        + "\n"
    )


def _frames(rows: BenchmarkRows, corpus: Corpus) -> dict[str, pd.DataFrame]:
    """Return title -> a table of formatted cells; the first one has no title."""
    totals = {k.lower(): v for k, v in PAPER.get(corpus.name, {}).get("total", {}).items()}
    lines = []
    for name, run in rows.metrics.items():
        printed = totals.get(name, (math.nan, math.nan))
        test, cost = rows.tests.get(name), rows.costs.get(name, {})
        low, high = run["weighted_f1"]["interval"]
        lines.append(
            {
                "model": name,
                "parameters": f"{run['parameters']:,}",
                "accuracy": _cell(run["accuracy"], printed[0]),
                "weighted F1": _cell(run["weighted_f1"], printed[1]),
                "interval": f"{100 * low:.2f} to {100 * high:.2f}",
                "macro F1": _cell(run["macro_f1"]),
                "difference": f"{100 * test['difference']:+.2f}" if test else "",
                "p": f"{test['p']:.4f}" if test else "",
                "p (Holm)": f"{test['p_holm']:.4f}" if test else "",
                "step": f"{cost['step']:.2f}" if "step" in cost else "",
                "memory": f"{cost['memory']:.2f}" if "memory" in cost else "",
            }
        )
    frames = {"": pd.DataFrame(lines)}
    for figure, title in CLASS_FIGURES.items():
        lines = []
        for name, run in rows.metrics.items():
            given = printed_classes(corpus.name, name, figure)
            cells = {
                label: _cell(run["per_class"][label][figure], given.get(label, math.nan))
                for label in run["labels"]
            }
            lines.append({"model": name, **cells})
        frames[f"{title} of each class"] = pd.DataFrame(lines)
    return frames


def _cell(figure: dict[str, float], printed: float = math.nan) -> str:
    """Format mean ± sd and the printed figure.

    >>> _cell({"mean": 0.5, "sd": 0.01}, 51)
    '50.00 ± 1.00 (51.00)'
    """
    text = f"{100 * figure['mean']:.2f}" + (f" ± {100 * figure['sd']:.2f}" if figure["sd"] else "")
    return text if math.isnan(printed) else f"{text} ({printed:.2f})"


def _headline_record(rows: BenchmarkRows, name: str, corpus: Corpus) -> dict[str, Any]:
    """Return the line of benchmark.csv: fractions, not per cent; printed figures in per cent."""
    run, test, cost = rows.metrics[name], rows.tests.get(name, {}), rows.costs.get(name, {})
    low, high = run["weighted_f1"]["interval"]
    record: dict[str, Any] = {"protocol": rows.protocol, "model": name}
    record["parameters"] = run["parameters"]
    for figure in HEADLINES:
        record |= {f"{figure}_{kind}": run[figure][kind] for kind in ("mean", "sd")}
    record |= {"low": low, "high": high}
    record |= {key: test.get(key, math.nan) for key in ("difference", "p", "p_holm")}
    for key in ("step", "memory", "step_seconds", "memory_bytes"):
        record[key] = cost.get(key, math.nan)
    totals = {k.lower(): v for k, v in PAPER.get(corpus.name, {}).get("total", {}).items()}
    printed = totals.get(name, (math.nan, math.nan))
    return record | {"printed_accuracy": printed[0], "printed_weighted_f1": printed[1]}


def _class_records(rows: BenchmarkRows, corpus: Corpus) -> list[dict[str, Any]]:
    """Return the lines of classes.csv."""
    records = []
    for name, run in rows.metrics.items():
        for label in run["labels"]:
            for figure in CLASS_FIGURES:
                value = run["per_class"][label][figure]
                printed = printed_classes(corpus.name, name, figure).get(label, math.nan)
                records.append(
                    {
                        "protocol": rows.protocol,
                        "model": name,
                        "class": label,
                        "figure": figure,
                        "mean": value["mean"],
                        "sd": value["sd"],
                        "printed": printed,
                    }
                )
    return records


def _forest(rows: BenchmarkRows) -> bytes:
    """Draw the weighted F1 of every model with its interval, the best one on top; return PNG."""
    names = sorted(rows.metrics, key=lambda name: rows.metrics[name]["weighted_f1"]["mean"])
    values = [rows.metrics[name]["weighted_f1"] for name in names]
    mean = np.array([value["mean"] for value in values])
    low, high = np.array([value["interval"] for value in values]).T
    figure = Figure(figsize=(8, 0.32 * len(names) + 1), layout="constrained")
    axis, positions = figure.subplots(), np.arange(len(names))
    axis.errorbar(mean, positions, xerr=np.maximum([mean - low, high - mean], 0), fmt="o")
    if "css" in rows.metrics:
        reference = rows.metrics["css"]["weighted_f1"]["mean"]
        axis.axvline(reference, linewidth=0.8, linestyle=":")
    axis.set(yticks=positions, xlabel="weighted F1 (test), 95 % interval over dialogues and seeds")
    axis.set_yticklabels(names)
    return png(figure)
