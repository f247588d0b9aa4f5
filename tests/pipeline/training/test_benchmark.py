"""A small benchmark is complete and resumes; a model that fails does not stop the others."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from pipeline.core.dialogue import Corpus
from pipeline.core.errors import MercError, UsageError
from pipeline.corpora.synthetic import make_synthetic
from pipeline.training.benchmark import benchmark, choose_models
from pipeline.training.benchmark_settings import configure
from pipeline.training.cost import LiveBytes
from pipeline.training.fit import fit
from pipeline.training.planned_run import plan_run
from pipeline.training.printed_figures import CLASSES, PAPER, RECALL

TINY = ["train.epochs=1", "train.threads=1", "train.device=cpu"]
SUPPORT = {  # utterances of each class in the test parts
    "iemocap": [144, 245, 384, 170, 299, 381],
    "meld": [1256, 281, 50, 208, 402, 68, 345],
}


@pytest.fixture
def corpus() -> Corpus:
    return make_synthetic(12, 4, 4, 4)


def run(corpus: Corpus, out: Path, models: list[str], protocol: str = "clean", **options) -> dict:
    return benchmark(
        corpus, "synthetic", out, models, protocol, 1, TINY, width=8, jobs=1, **options
    )


def test_a_small_benchmark(corpus: Corpus, tmp_path: Path) -> None:
    epochs: list[dict] = []
    result = run(corpus, tmp_path, ["sdt", "css"], "both", report=epochs.append)
    assert {row["row"] for row in epochs} == {
        *(f"{name}{protocol}" for name in ("css", "sdt") for protocol in ("", " (published)")),
        "css-attached (published)",
    }
    assert list(result["models"]) == ["css", "sdt", "css-attached"]
    assert result == json.loads((tmp_path / "benchmark.json").read_text())
    sdt = result["models"]["sdt"]
    assert sdt["step"] == sdt["memory"] == 1
    assert sdt["p_holm"] >= sdt["p"] and "p" not in result["models"]["css"]
    for name in ("css", "sdt"):
        figures = result["models"][name]
        for protocol, part in (("clean", figures), ("published", figures["published"])):
            metrics = json.loads((tmp_path / "runs" / protocol / name / "metrics.json").read_text())
            assert part["weighted_f1"] == metrics["weighted_f1"]
            assert part["parameters"] == metrics["parameters"]
    attached = result["models"]["css-attached"]
    assert list(attached) == ["published"] and "difference" in attached["published"]
    settings = (tmp_path / "runs" / "published" / "css-attached" / "config.yaml").read_text()
    assert "detach_teacher: false" in settings
    classes = pd.read_csv(tmp_path / "classes.csv")
    assert len(classes) == (2 + 3) * len(corpus.labels) * 3
    text = (tmp_path / "benchmark.md").read_text()
    assert "Leaky" in text and "Recall of each class" in text and "Failed" not in text
    assert (tmp_path / "benchmark.tex").read_text().count(r"\begin{tabular}") == 8

    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/*/*.safetensors")}
    assert len(stamps) == 5
    epochs.clear()
    assert run(corpus, tmp_path, ["sdt", "css"], "both", report=epochs.append) == result
    assert not epochs
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}


def test_finished_seeds_are_kept_and_a_failing_model_is_listed(
    corpus: Corpus, tmp_path: Path
) -> None:
    configs = configure("synthetic", ["mfn", "misa"], TINY, width=8)
    planned = {
        name: plan_run(corpus, configs[name], "clean", 1, tmp_path / "runs" / "clean" / name)
        for name in ("mfn", "misa")
    }
    for one in planned.values():
        one.begin()
    fit(planned["misa"].parts, configs["misa"], 0, planned["misa"].folder(0))
    damaged = planned["mfn"].folder(0) / "checkpoint.pt"
    damaged.parent.mkdir()
    damaged.write_bytes(b"not a checkpoint")
    epochs: list[dict] = []
    result = run(corpus, tmp_path, ["mfn", "misa"], report=epochs.append)
    assert not epochs
    assert "weighted_f1" in result["models"]["misa"]
    assert "seed 0" in result["models"]["mfn"]["error"]
    assert "mfn: seed 0" in (tmp_path / "benchmark.md").read_text()


def test_what_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such model"):
        run(corpus, tmp_path, ["sdtt"])
    with pytest.raises(MercError, match=r"did you mean train\.epochs"):
        benchmark(corpus, "synthetic", tmp_path, ["css"], overrides=["train.epoch=1"])
    (tmp_path / "mine.txt").write_text("not a benchmark")
    with pytest.raises(UsageError, match="holds no benchmark"):
        run(corpus, tmp_path, ["css"])


def test_settings_are_those_of_each_model() -> None:
    configs = configure("meld", choose_models(None))
    assert configs["css"].train.lr == 5e-6 and configs["sdt"].model.temperature == 8
    assert all(configs[name].model.name == name for name in configs)
    narrow = configure("table", choose_models(None), ["model.order=2"], width=24)
    assert narrow["css"].model.order == 2
    for config in narrow.values():
        assert getattr(config.model, "d", 24) == 24


def test_printed_tables_agree_with_themselves() -> None:
    """Weighted by the classes, recall gives the accuracy and F1 the weighted F1."""
    for corpus, models in CLASSES.items():
        assert set(models) == set(PAPER[corpus]["total"])
        for name, rows in models.items():
            accuracy, weighted_f1 = PAPER[corpus]["total"][name]
            firsts, f1 = zip(*rows.values(), strict=True)
            if name in RECALL:
                assert _weighted(firsts, corpus) == pytest.approx(accuracy, abs=0.02)
            if name != "MPT-HCL":  # its rows and total come from different sources
                assert _weighted(f1, corpus) == pytest.approx(weighted_f1, abs=0.02)


def test_live_bytes_count_what_is_alive() -> None:
    weight = torch.randn(100, 100, requires_grad=True)
    with LiveBytes([weight]) as live:
        for _ in range(3):
            (weight @ weight).sum().backward()
            weight.grad = None
    matrix = 4 * 100 * 100
    assert 3 * matrix <= live.peak <= 5 * matrix + 1000


def _weighted(values: tuple[float, ...], corpus: str) -> float:
    support = SUPPORT[corpus]
    return sum(n * v for n, v in zip(support, values, strict=True)) / sum(support)
