"""The ablation's rows are what they say, and a small one comes out whole and resumes."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from pipeline.corpora.synthetic import make_synthetic
from pipeline.training import ablation as module
from pipeline.training.ablation import ROWS, ablate
from pipeline.training.config import load_configuration
from pipeline.training.printed_figures import ABLATIONS

TINY = [
    "model.d=8",
    "model.heads=2",
    "model.hidden=8",
    "model.rank=2",
    "train.epochs=1",
    "train.threads=1",
    "train.device=cpu",
]


@pytest.mark.parametrize("name", ROWS)
def test_every_row_s_settings_are_valid_and_differ_from_css(name: str) -> None:
    config, css = (
        load_configuration("synthetic", ROWS[name].settings),
        load_configuration("synthetic"),
    )
    assert (config == css) == (name in ("css", "mean-gamma"))


def test_printed_rows_are_rows() -> None:
    assert all(set(rows) <= set(ROWS) for rows in ABLATIONS.values())


def test_a_small_ablation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = make_synthetic(12, 4, 4, 4)
    monkeypatch.setattr(module, "load_corpus", lambda name, data: corpus)
    names = ["no-l3", "mean-gamma", "visual"]
    result = ablate("synthetic", None, tmp_path, names, seeds=1, overrides=TINY)
    assert [row["row"] for row in result["rows"]] == ["css", "no-l3", "visual", "mean-gamma"]
    json.dumps(result, allow_nan=False)
    table = pd.read_csv(tmp_path / "ablation.csv")
    assert (table["p_holm"].dropna() >= table["p"].dropna()).all()
    assert pd.read_csv(tmp_path / "rows" / "no-l3" / "history.csv")["gamma3"].eq(0).all()
    gamma = pd.read_csv(tmp_path / "rows" / "css" / "history.csv")[
        ["gamma1", "gamma2", "gamma3"]
    ].mean()
    static = pd.read_csv(tmp_path / "rows" / "mean-gamma" / "history.csv")[
        ["gamma1", "gamma2", "gamma3"]
    ]
    assert abs(static.iloc[0].to_numpy() - gamma.to_numpy()).max() < 1e-3
    said = (tmp_path / "ablation.md").read_text()
    assert "Table 3" in said and "visual only" in said
    stamps = {f: f.stat().st_mtime_ns for f in tmp_path.glob("rows/*/model.safetensors")}
    ablate("synthetic", None, tmp_path, names, seeds=1, overrides=TINY)
    assert stamps == {f: f.stat().st_mtime_ns for f in tmp_path.glob("rows/*/model.safetensors")}


def test_an_unknown_row_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no row no-spff"):
        ablate("synthetic", None, tmp_path, ["no-spff"])
