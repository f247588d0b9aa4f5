"""Scoring a run again gives its figures; what the model cannot know is refused; runs compare."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.training import edited

from pipeline.core.dialogue import Corpus
from pipeline.core.errors import MercError
from pipeline.corpora.table import load_table
from pipeline.training.compare import compare
from pipeline.training.evaluate import evaluate


def test_scoring_a_run_again_gives_its_figures(run: Path, table: Path, tmp_path: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    best = next(entry for entry in metrics["per_seed"] if entry["seed"] == metrics["best_seed"])
    for split in ("test", "valid"):
        again = evaluate(str(run), load_table(table), split, predictions=tmp_path / "p.csv")
        for name in ("accuracy", "weighted_f1", "macro_f1", "macro_recall", "confusion"):
            assert again[name] == best[split][name]
    assert again["fingerprints"] == "equal"
    json.dumps(again, allow_nan=False)
    assert (tmp_path / "p.csv").read_text().startswith("dialogue,utterance,speaker,label,")


def test_evaluation_refuses_what_the_model_cannot_know(run: Path, corpus: Corpus) -> None:
    def refuse(changed: Corpus, message: str) -> None:
        with pytest.raises(MercError, match=message):
            evaluate(str(run), changed)

    refuse(replace(corpus, labels=("bored", *corpus.labels[1:])), "does not know: bored")
    wide = edited(
        corpus, lambda d: replace(d, features={m: np.tile(r, 2) for m, r in d.features.items()})
    )
    widths = {m: 2 * w for m, w in corpus.widths.items()}
    refuse(replace(wide, widths=widths), "takes text features of width 32")
    assert corpus.fingerprints is not None
    other = corpus.fingerprints | {"audio": {"extractor": "other"}}
    refuse(replace(corpus, fingerprints=other), "other audio features")
    train_only = replace(corpus, dialogues=corpus.split("train"))
    refuse(train_only, "test split has no labelled.*train")


def test_a_model_that_does_not_exist_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(MercError, match="no such model"):
        evaluate(str(tmp_path / "nowhere"), corpus)


def test_a_corpus_with_fewer_labels_and_modalities_is_scored_on_all_labels(
    run: Path, corpus: Corpus
) -> None:
    few = edited(
        corpus,
        lambda d: replace(
            d,
            labels=np.where(d.labels == 1, 0, -1),
            features={"text": d.features["text"], "audio": d.features["audio"]},
        ),
    )
    widths = {m: corpus.widths[m] for m in ("text", "audio")}
    few = replace(few, labels=("calm-even",), widths=widths, fingerprints=None)
    result = evaluate(str(run), few)
    assert len(result["labels"]) == 6 and np.array(result["confusion"]).shape == (6, 6)
    recall = result["per_class"]["calm-even"]["recall"]
    assert result["macro_recall"] == recall == result["accuracy"]
    assert result["modalities"] == {"text": 1.0, "audio": 1.0, "visual": 0.0}
    assert result["fingerprints"] == "unknown"
    assert any("visual" in warning for warning in result["warnings"])


def test_runs_compare(run: Path) -> None:
    result = compare(run, run / "published", draws=200)
    metrics = json.loads((run / "metrics.json").read_text())
    assert -result["difference"] == pytest.approx(metrics["gap"]["weighted_f1"])
    assert compare(run, run, draws=200)["p"] == 1
