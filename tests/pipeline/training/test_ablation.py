"""The rows of the ablation are valid variants; a small ablation is complete and resumes."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from pipeline.core.dialogue import Corpus
from pipeline.core.errors import UsageError
from pipeline.corpora.synthetic import make_synthetic
from pipeline.training.ablation import ablate
from pipeline.training.ablation_rows import GROUPS, ROWS
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


@pytest.fixture
def corpus() -> Corpus:
    return make_synthetic(12, 4, 4, 4)


@pytest.mark.parametrize("name", ROWS)
def test_the_settings_of_every_row_are_valid_and_differ_from_css(name: str) -> None:
    config = load_configuration("synthetic", ROWS[name].settings)
    css = load_configuration("synthetic")
    assert (config == css) == (name in ("css", "mean-gamma"))


def test_every_group_of_a_row_has_a_table() -> None:
    assert all(set(row.groups.split()) <= set(GROUPS) for row in ROWS.values())


def test_printed_rows_are_rows() -> None:
    assert all(set(rows) <= set(ROWS) for rows in ABLATIONS.values())


def test_a_small_ablation(corpus: Corpus, tmp_path: Path) -> None:
    names = ["no-l3", "mean-gamma", "visual"]
    epochs: list[dict] = []
    result = ablate(
        corpus, "synthetic", tmp_path, names, seeds=1, overrides=TINY, report=epochs.append
    )
    assert [row["row"] for row in result["rows"]] == ["css", "no-l3", "visual", "mean-gamma"]
    assert [epoch["row"] for epoch in epochs] == [row["row"] for row in result["rows"]]
    json.dumps(result, allow_nan=False)
    table = pd.read_csv(tmp_path / "ablation.csv")
    assert (table["p_holm"].dropna() >= table["p"].dropna()).all()
    assert _gamma(tmp_path / "rows" / "no-l3")["gamma3"].eq(0).all()
    mean = _gamma(tmp_path / "rows" / "css").mean()
    static = _gamma(tmp_path / "rows" / "mean-gamma")
    assert abs(static.iloc[0].to_numpy() - mean.to_numpy()).max() < 1e-3
    markdown = (tmp_path / "ablation.md").read_text()
    assert "Table 3" in markdown and "visual only" in markdown
    stamps = {f: f.stat().st_mtime_ns for f in tmp_path.glob("rows/*/model.safetensors")}
    ablate(corpus, "synthetic", tmp_path, names, seeds=1, overrides=TINY)
    assert stamps == {f: f.stat().st_mtime_ns for f in tmp_path.glob("rows/*/model.safetensors")}


def test_a_row_without_its_modality_is_listed_and_another_run_refused(
    corpus: Corpus, tmp_path: Path
) -> None:
    features = {"text": corpus.widths["text"], "audio": corpus.widths["audio"]}
    for dialogue in corpus.dialogues:
        dialogue.features.pop("visual", None)
    smaller = Corpus("small", corpus.labels, corpus.dialogues, features)
    result = ablate(smaller, "synthetic", tmp_path, ["visual"], seeds=1, overrides=TINY)
    assert result["not_run"] == {"visual": "the corpus has no visual"}
    assert "the corpus has no visual" in (tmp_path / "ablation.md").read_text()
    with pytest.raises(UsageError, match="another run"):
        ablate(smaller, "synthetic", tmp_path, ["no-l3"], seeds=2, overrides=TINY)


def test_an_unknown_row_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no row no-spff"):
        ablate(corpus, "synthetic", tmp_path, ["no-spff"])


def _gamma(run: Path) -> pd.DataFrame:
    return pd.read_csv(run / "history.csv")[["gamma1", "gamma2", "gamma3"]]
