"""`merc ablate`: the rows of the paper's Tables 3 and 4, other fusions and other objectives, each over seeds."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pipeline.core.dialogue import MODALITIES
from pipeline.core.files import write_bytes, write_text
from pipeline.core.render import markdown_table, png
from pipeline.corpora import load_corpus
from pipeline.training.compare import compare
from pipeline.training.config import load_configuration
from pipeline.training.metrics import holm
from pipeline.training.printed_figures import ABLATIONS
from pipeline.training.train import train_corpus

__all__ = ["ROWS", "Row", "ablate"]


@dataclass(frozen=True)
class Row:
    """A variant of CSS: what `--set` would say.  groups: the tables that it stands in."""

    title: str
    groups: tuple[str, ...]
    settings: list[str] = field(default_factory=list)


ROWS: dict[str, Row] = {
    "css": Row("CSS", ("components", "modalities", "fusion", "objectives", "open")),
    "no-spf": Row(
        "without SPF = linear concatenation", ("components", "fusion"), ["model.fusion=concat"]
    ),
    "no-msp": Row(
        "without MSP (shared projections, no gate)",
        ("components",),
        ["model.modality_specific=false"],
    ),
    "no-pgm": Row(
        "without PGM = weights 1, 1, 1", ("components", "objectives"), ["train.objective=equal"]
    ),
    "no-mae": Row("without MAE", ("components",), ["model.mae=false"]),
    "no-iae": Row("without IAE", ("components",), ["model.iae=false"]),
    "no-l2": Row("without L2", ("components",), ["train.weights=[1,0,1]"]),
    "no-l3": Row("without L3", ("components",), ["train.weights=[1,1,0]"]),
    **{
        "+".join(kept): Row(
            " + ".join(kept) + (" only" if size == 1 else ""),
            ("modalities",),
            [f"data.modalities=[{','.join(kept)}]"],
        )
        for size in (2, 1)
        for kept in combinations(MODALITIES, size)
    },
    "mlp": Row("concatenation + GELU MLP", ("fusion",), ["model.fusion=mlp"]),
    "lmf": Row("LMF", ("fusion",), ["model.fusion=lmf"]),
    "mfb": Row("MFB", ("fusion",), ["model.fusion=mfb"]),
    "ptp": Row("polynomial tensor pooling, shared projections", ("fusion",), ["model.fusion=ptp"]),
    "gate": Row("softmax gate (SDT)", ("fusion",), ["model.fusion=gate"]),
    "mean-gamma": Row(
        "static weights at PGM's mean γ", ("objectives",)
    ),  # settings: see `_mean_gamma`
    "l1": Row("L1 alone", ("objectives",), ["train.objective=l1"]),
    "mgda": Row("MGDA on raw gradients", ("objectives",), ["train.objective=mgda"]),
    "pcgrad": Row("PCGrad", ("objectives",), ["train.objective=pcgrad"]),
    "cagrad": Row("CAGrad", ("objectives",), ["train.objective=cagrad"]),
    "unit-gamma": Row(
        "PGM, γ on rescaled unit gradients", ("objectives", "open"), ["train.gamma=unit"]
    ),
    "parallel": Row(
        "IAE fed in parallel, as eqs. 3-5 write it", ("open",), ["model.iae_input=parallel"]
    ),
    "attached": Row(
        "teacher of L3 not detached, as in SDT", ("open",), ["train.detach_teacher=false"]
    ),
    "last": Row("PGM on the last projection alone", ("open",), ["train.theta=last"]),
    "repr": Row("PGM on h̃ alone", ("open",), ["train.theta=repr"]),
}
GROUPS = {
    "components": "Components (the paper's Table 3)",
    "modalities": "Modalities (the paper's Table 4)",
    "fusion": "Fusion",
    "objectives": "Objectives",
    "open": "Points that the paper leaves open (choose by valid)",
}


def ablate(
    dataset: str,
    data: Path | None,
    out: Path,
    rows: list[str] | None = None,
    protocol: str = "clean",
    seeds: int = 5,
    overrides: list[str] | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Train every row into `out/rows/NAME` and write ablation.md, ablation.csv, ablation.png.

    rows: names of `ROWS` or of groups; CSS itself is always among them.  Rows that are done are not trained again, one
    that was cut short goes on; the tables are written after every row.  A row that cannot be trained here is listed
    with the reason.
    Raises ValueError for an unknown row.
    """
    names = _choose(rows)
    if protocol not in ("clean", "published"):
        raise ValueError(f"no protocol {protocol!r} for an ablation; choose clean or published")
    corpus = load_corpus(dataset, data)
    runs: dict[str, dict[str, Any]] = {}
    tests: dict[str, dict[str, Any]] = {}
    reasons: dict[str, str] = {}
    for name in names:
        settings = (
            _mean_gamma(out / "rows" / "css") if name == "mean-gamma" else ROWS[name].settings
        )
        lost = [m for m in name.split("+") if m in MODALITIES and m not in corpus.widths]
        if lost:
            reasons[name] = f"the corpus has no {', '.join(lost)}"
            continue
        try:
            config = load_configuration(dataset, [*(overrides or []), *settings])
            runs[name] = train_corpus(
                corpus, config, protocol, seeds, out / "rows" / name, progress
            )
        except ValueError as error:
            if name == "css":
                raise
            reasons[name] = str(error)
            continue
        if name != "css":
            tests[name] = compare(out / "rows" / name, out / "rows" / "css")
        table = _table(runs, tests, corpus.name)
        write_text(out / "ablation.csv", table.to_csv(index=False, lineterminator="\n"))
        write_text(out / "ablation.md", _markdown(table, reasons, runs["css"]))
        write_bytes(out / "ablation.png", _picture(table))
    if reasons:
        write_text(out / "ablation.md", _markdown(table, reasons, runs["css"]))
    records = table.astype(object).where(table.notna(), None).to_dict("records")  # JSON has no NaN
    return {
        "dataset": corpus.name,
        "protocol": protocol,
        "seeds": seeds,
        "rows": records,
        "not_run": reasons,
    }


def _choose(rows: list[str] | None) -> list[str]:
    wanted = set(rows or ROWS)
    unknown = sorted(wanted - set(ROWS) - set(GROUPS))
    if unknown:
        raise ValueError(
            f"no row {', '.join(unknown)}; rows: {', '.join(ROWS)}; groups: {', '.join(GROUPS)}"
        )
    return [
        name
        for name, row in ROWS.items()
        if name == "css" or name in wanted or wanted & set(row.groups)
    ]


def _mean_gamma(run: Path) -> list[str]:
    history = pd.read_csv(run / "history.csv")
    mean = [round(float(history[f"gamma{k}"].mean()), 4) for k in (1, 2, 3)]
    return ["train.objective=static", f"train.weights={mean}"]


def _table(
    runs: dict[str, dict[str, Any]], tests: dict[str, dict[str, Any]], corpus: str
) -> pd.DataFrame:
    """A line for each run; tests: row -> its comparison with CSS."""
    adjusted = dict(zip(tests, holm([test["p"] for test in tests.values()]), strict=True))
    printed = ABLATIONS.get(corpus, {})
    records = []
    for name, run in runs.items():
        test = tests.get(name, {"difference": 0.0, "p": np.nan})
        records.append(
            {
                "row": name,
                "title": ROWS[name].title,
                "groups": " ".join(ROWS[name].groups),
                **{
                    f"{figure}_{kind}": run[figure][kind]
                    for figure in ("accuracy", "weighted_f1", "macro_f1")
                    for kind in ("mean", "sd")
                },
                "valid_weighted_f1": run["valid"]["weighted_f1"]["mean"]
                if "valid" in run
                else np.nan,
                "low": run["weighted_f1"]["interval"][0],
                "high": run["weighted_f1"]["interval"][1],
                "difference": test["difference"],
                "p": test["p"],
                "p_holm": adjusted.get(name, np.nan),
                "parameters": run["parameters"],
                "printed_accuracy": printed.get(name, (np.nan,) * 2)[0],
                "printed_weighted_f1": printed.get(name, (np.nan,) * 2)[1],
            }
        )
    return pd.DataFrame(records)


def _markdown(table: pd.DataFrame, reasons: dict[str, str], css: dict[str, Any]) -> str:
    printed = bool(table["printed_accuracy"].notna().any())
    text = [
        f"# Ablations on {css['dataset']}\n",
        f"Protocol `{css['protocol']}`, {len(css['seeds'])} seeds, test part: {css['parts']['test']['dialogues']} "
        "dialogues. Per cent, mean ± sd over seeds. Difference of seed-mean weighted F1 to CSS; p by approximate "
        f"randomisation over dialogues, Holm over the {len(table) - 1} rows; p is conditional on these seeds, so a "
        "difference within their sd says nothing of other seeds.\n",
    ]
    header = [
        "",
        "accuracy",
        "weighted F1",
        "macro F1",
        "valid w-F1",
        "difference",
        "p",
        "p (Holm)",
    ]
    for group, title in GROUPS.items():
        own = table[[group in groups.split() for groups in table["groups"]]]
        if len(own) < 2:
            continue
        lines = [
            [
                r.title,
                *(
                    f"{100 * getattr(r, f'{k}_mean'):.2f} ± {100 * getattr(r, f'{k}_sd'):.2f}"
                    for k in ("accuracy", "weighted_f1", "macro_f1")
                ),
                "" if np.isnan(r.valid_weighted_f1) else f"{100 * r.valid_weighted_f1:.2f}",
                *(
                    ["", "", ""]
                    if r.row == "css"
                    else [f"{100 * r.difference:+.2f}", f"{r.p:.4f}", f"{r.p_holm:.4f}"]
                ),
                *([f"{r.printed_accuracy:.2f} / {r.printed_weighted_f1:.2f}"] if printed else []),
            ]
            for r in own.itertuples()
        ]
        text += [
            f"## {title}\n",
            markdown_table(header + (["printed (accuracy / w-F1)"] if printed else []), lines),
        ]
    if css["dataset"] == "meld":
        text += [
            "The printed visual-only row is the constant answer neutral (1256 of 2610 utterances).\n"
        ]
    if reasons:
        text += [
            "## Not run\n",
            *(f"- {ROWS[name].title}: {reason}\n" for name, reason in reasons.items()),
        ]
    return "\n".join([*text, "![weighted F1 of every row](ablation.png)\n"])


def _picture(table: pd.DataFrame) -> bytes:
    figure = Figure(figsize=(8, 0.32 * len(table) + 1), layout="constrained")
    axis, at = figure.subplots(), np.arange(len(table))[::-1]
    mean, low, high = (table[k].to_numpy() for k in ("weighted_f1_mean", "low", "high"))
    axis.errorbar(mean, at, xerr=np.maximum([mean - low, high - mean], 0), fmt="o", capsize=2)
    axis.axvline(mean[0], linewidth=0.8, linestyle=":")
    axis.set(yticks=at, xlabel="weighted F1 (test), 95 % interval over dialogues and seeds")
    axis.set_yticklabels(table["title"], fontsize="small")
    return png(figure)
