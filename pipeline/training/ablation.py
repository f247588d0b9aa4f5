"""Ablations: the rows of the paper's Tables 3 and 4, other fusions, other objectives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.core.dialogue import MODALITIES, Corpus
from pipeline.core.errors import UsageError
from pipeline.core.files import json_ready, write_bytes, write_text
from pipeline.training.ablation_report import ablation_markdown, ablation_plot, ablation_table
from pipeline.training.ablation_rows import ROWS, choose_rows
from pipeline.training.compare import compare
from pipeline.training.config import load_configuration
from pipeline.training.fit import Report, no_report
from pipeline.training.protocols import PROTOCOLS
from pipeline.training.train import train_corpus

__all__ = ["ablate"]


def ablate(
    corpus: Corpus,
    settings: str,
    out: Path,
    rows: list[str] | None = None,
    protocol: str = "clean",
    seeds: int = 5,
    overrides: Sequence[str] = (),
    *,
    report: Report | None = None,
) -> dict[str, Any]:
    """Train every row into `out/rows/NAME` and write ablation.md, ablation.csv and ablation.png.

    Finished rows are not trained again, an interrupted one continues, and the tables are written
    after every row. A row that cannot be trained on this corpus is listed with the reason.

    Args:
        settings, overrides: as `load_configuration` takes them; a row's own settings come last.
        rows: names of `ROWS` or of groups; default: all. CSS itself is always among them.
        report: is called after every epoch, as by `train`, with the name of the row as "row".

    Returns:
        dataset, protocol, seeds, rows (one dict each), not_run (row -> reason).

    Raises:
        UsageError: an unknown row or protocol, or a folder that holds another run.
    """
    names = choose_rows(rows)
    if protocol not in PROTOCOLS:
        raise UsageError(
            f"unknown protocol {protocol!r} for an ablation", f"choose {' or '.join(PROTOCOLS)}"
        )
    runs: dict[str, dict[str, Any]] = {}
    tests: dict[str, dict[str, Any]] = {}
    reasons: dict[str, str] = {}
    for name in names:
        missing = [m for m in name.split("+") if m in MODALITIES and m not in corpus.widths]
        if missing:
            reasons[name] = f"the corpus has no {', '.join(missing)}"
            continue
        folder = out / "rows" / name
        row_settings = ROWS[name].settings
        if name == "mean-gamma":
            row_settings = _mean_gamma(out / "rows" / "css")
        try:
            config = load_configuration(settings, [*overrides, *row_settings], "css")
            row_report = _with_row(name, report) if report else no_report
            runs[name] = train_corpus(corpus, config, protocol, seeds, folder, row_report)
        except UsageError:
            raise
        except ValueError as error:
            if name == "css":
                raise
            reasons[name] = str(error)
            continue
        if name != "css":
            tests[name] = compare(folder, out / "rows" / "css")
        table = ablation_table(runs, tests, corpus.name)
        write_text(out / "ablation.csv", table.to_csv(index=False, lineterminator="\n"))
        write_text(out / "ablation.md", ablation_markdown(table, reasons, runs["css"]))
        write_bytes(out / "ablation.png", ablation_plot(table))
    if reasons:
        write_text(out / "ablation.md", ablation_markdown(table, reasons, runs["css"]))
    return {
        "dataset": corpus.name,
        "protocol": protocol,
        "seeds": seeds,
        "rows": json_ready(table.to_dict("records")),
        "not_run": reasons,
    }


def _with_row(name: str, report: Report) -> Report:
    """Return a report that adds the name of the row."""
    return lambda row: report({"row": name, **row})


def _mean_gamma(run: Path) -> list[str]:
    """Return the settings that fix the weights at the mean γ of a run."""
    history = pd.read_csv(run / "history.csv")
    mean = [round(float(history[f"gamma{k}"].mean()), 4) for k in (1, 2, 3)]
    return ["train.objective=static", f"train.weights={mean}"]
