"""The run folder: complete, deterministic, claimed; and what else `train` writes."""

from __future__ import annotations

import csv
import json
import os
import pickle
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.asserts import assert_distribution
from support.training import edited, tiny

from pipeline.core.dialogue import Corpus, Dialogue
from pipeline.core.errors import MercError, UsageError
from pipeline.core.workers import WorkerDied
from pipeline.corpora.synthetic import make_synthetic
from pipeline.training import seeds as seeds_module
from pipeline.training.config import load_configuration
from pipeline.training.evaluate import evaluate
from pipeline.training.predictor import Predictor
from pipeline.training.protocols import split_corpus
from pipeline.training.seeds import fit_seeds
from pipeline.training.train import check_options, train, train_corpus

FILES = {
    "model.safetensors",
    "predictions.csv",
    "predictions-per-seed.csv",
    "config.yaml",
    "metrics.json",
    "history.csv",
    "card.md",
    "losses.png",
    "gamma.png",
    "confusion.png",
    "per_class_f1.png",
    "reliability.png",
}


def _names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_the_run_folder_is_complete(run: Path) -> None:
    assert _names(run) == FILES | {"published"}
    assert _names(run / "published") == FILES | {"attached"}
    assert _names(run / "published" / "attached") == FILES


def test_metrics_summarise_the_seeds(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    per_seed = [entry["test"]["weighted_f1"] for entry in metrics["per_seed"]]
    assert metrics["weighted_f1"]["mean"] == pytest.approx(np.mean(per_seed))
    assert metrics["weighted_f1"]["sd"] == pytest.approx(np.std(per_seed, ddof=1))
    valid = {e["seed"]: e["valid"]["weighted_f1"] for e in metrics["per_seed"]}
    assert valid[metrics["best_seed"]] == max(valid.values())
    gap = metrics["published"]["accuracy"]["mean"] - metrics["accuracy"]["mean"]
    assert metrics["gap"]["accuracy"] == pytest.approx(gap)


def test_history_predictions_and_card(run: Path, corpus: Corpus) -> None:
    history = list(csv.DictReader((run / "history.csv").open()))
    assert len(history) == 2 * 3
    assert all(abs(sum(float(row[f"gamma{k}"]) for k in (1, 2, 3)) - 1) < 1e-6 for row in history)
    rows = list(csv.DictReader((run / "predictions.csv").open()))
    probabilities = [[float(row[f"p_{label}"]) for label in corpus.labels] for row in rows]
    assert_distribution(np.array(probabilities), 1e-9)
    card = (run / "card.md").read_text()
    assert "±" in card and "leaky" in card


def test_same_seed_same_files_however_many_at_a_time(
    run: Path, corpus: Corpus, tmp_path: Path
) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core: seeds never run side by side here")
    # in worker processes; `run` trained both seeds in one process
    train_corpus(corpus, tiny("train.detach_teacher=false"), "published", 2, tmp_path / "again")
    for name in ("metrics.json", "model.safetensors", "predictions.csv"):
        expected = (run / "published" / "attached" / name).read_bytes()
        assert (tmp_path / "again" / name).read_bytes() == expected


def test_epochs_are_reported(corpus: Corpus, tmp_path: Path) -> None:
    rows: list[dict] = []
    train(corpus, tiny(), seeds=2, out=tmp_path / "run", report=rows.append)
    epochs = sorted((row["seed"], row["epoch"], row["epochs"]) for row in rows)
    assert epochs == [(seed, epoch, 3) for seed in (0, 1) for epoch in (1, 2, 3)]


def test_a_finished_run_is_returned_and_another_refused(
    run: Path, corpus: Corpus, tmp_path: Path
) -> None:
    before = (run / "published" / "metrics.json").read_bytes()
    train_corpus(corpus, tiny(), "published", 2, run / "published")
    assert (run / "published" / "metrics.json").read_bytes() == before
    with pytest.raises(UsageError, match="another run"):
        train_corpus(corpus, tiny("train.lr=1e-3"), "clean", 2, run)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        train_corpus(corpus, tiny(), "clean", 1, tmp_path)


def test_an_impossible_model_leaves_nothing_behind(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(MercError, match="rank"):
        train(corpus, tiny("model.rank=-3"), "clean", 1, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_unusable_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="choose clean, published or both"):
        check_options(tmp_path / "run", "cleen", 1)
    with pytest.raises(UsageError, match="--seeds 0"):
        check_options(tmp_path / "run", "clean", 0)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        check_options(tmp_path, "clean", 1)


def test_a_loss_that_is_not_finite_is_an_error(corpus: Corpus, tmp_path: Path) -> None:
    config = tiny("train.lr=10", "train.batch=2")
    config.train.lr = 1e30
    with pytest.raises(MercError, match=r"NaN or infinite.*train\.lr"):
        train_corpus(corpus, config, "clean", 1, tmp_path / "run")
    with pytest.raises(MercError, match=r"NaN or infinite.*train\.lr"):  # from a worker process
        train_corpus(corpus, config, "clean", 2, tmp_path / "run")
    # nothing that it left is in the way
    train_corpus(corpus, tiny("train.epochs=1"), "clean", 1, tmp_path / "run")


def test_a_worker_that_dies_is_an_error(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def outcomes(*args: object, **options: object) -> Iterator[tuple[int, WorkerDied]]:
        yield 1, WorkerDied(-9)

    monkeypatch.setattr(seeds_module, "map_items", outcomes)
    parts = split_corpus(corpus, tiny().data, "clean")
    with pytest.raises(MercError, match="seed 8: its process ended with exit code -9"):
        fit_seeds(parts, tiny(), [7, 8], tmp_path)


def test_odd_dialogues_train(tmp_path: Path) -> None:
    """One utterance, many speakers, missing rows and modalities, no label, a class never seen."""
    odd = make_synthetic(12, 3, 3, 4)
    for d in odd.dialogues[:4]:
        d.features["visual"][:] = np.nan
        d.features["audio"][0] = np.nan
        d.features["text"][0] = np.nan  # utterance 0 has no feature at all

    def change(d: Dialogue) -> Dialogue:
        if d.id == "train005":
            return replace(
                d,
                utterances=d.utterances[:1],
                speakers=d.speakers[:1],
                texts=d.texts[:1],
                labels=d.labels[:1],
                features={m: rows[:1] for m, rows in d.features.items()},
            )
        if d.id == "train006":
            return replace(d, labels=np.full_like(d.labels, -1))
        return replace(d, speakers=[f"guest {k}" for k in range(len(d.speakers))])

    odd = replace(edited(odd, change), labels=(*odd.labels, "never"))
    config = tiny("model.feature_dropout=0.5", "train.class_weights=inverse", "model.speakers=2")
    notes = train_corpus(odd, config, "clean", 1, tmp_path / "run")["notes"]
    assert any("never" in note for note in notes)
    assert any("more speakers than model.speakers = 2, such as" in note for note in notes)
    assert any(note.startswith("visual is missing in") for note in notes)
    predictor = Predictor.load(tmp_path / "run")
    trained, uniform = (
        predictor.probabilities(odd.dialogues[0], prior) for prior in ("train", "uniform")
    )
    assert_distribution(trained)
    assert_distribution(uniform)
    prior = np.exp(predictor.checkpoint.log_prior)
    assert np.allclose(trained[0], prior, atol=1e-6)
    assert np.allclose(uniform[0], 1 / len(odd.labels))
    share = trained / prior
    assert np.allclose(uniform, share / share.sum(1, keepdims=True))


def test_labelling_refuses_features_of_unknown_origin(corpus: Corpus, run: Path) -> None:
    predictor = Predictor.load(run)
    predictor.check(corpus.fingerprints, known=False)
    with pytest.raises(MercError, match="random numbers"):
        predictor.check(corpus.fingerprints)
    predictor.fingerprints = None
    with pytest.raises(MercError, match="unknown origin"):
        predictor.check(corpus.fingerprints)


def test_tensorboard_has_the_curves_of_the_history(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(corpus, tiny(), "clean", 1, tmp_path / "run", tensorboard=True)
    curves = events.EventAccumulator(str(tmp_path / "run" / "tensorboard" / "seed-0"))
    curves.Reload()
    history = list(csv.DictReader((tmp_path / "run" / "history.csv").open()))
    for tag in ("loss/loss3", "gamma/gamma1", "select/select_weighted_f1"):
        column = tag.split("/")[1]
        curve = {event.step: event.value for event in curves.Scalars(tag)}
        expected = {int(row["epoch"]): float(row[column]) for row in history}
        assert curve == pytest.approx(expected, rel=1e-5)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match=r"merc\[tensorboard\]"):
        train(corpus, tiny(), "clean", 1, tmp_path / "other", tensorboard=True)
    assert not (tmp_path / "other").exists()


def test_speaker_rows_by_gender(corpus: Corpus, tmp_path: Path) -> None:
    settings = ["model.speaker_rows=gender", "model.d=8", "model.heads=2", "train.threads=1"]
    config = load_configuration("synthetic", [*settings, "train.epochs=1"], "sdt")
    with pytest.raises(MercError, match="speaker 'speaker 0' is neither M nor F in dialogue"):
        train(corpus, config, "clean", 1, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    named = edited(corpus, lambda d: replace(d, speakers=["MF"[int(s[-1])] for s in d.speakers]))
    metrics = train(named, config, "clean", 1, tmp_path / "run")
    assert "speaker_rows: gender" in (tmp_path / "run" / "config.yaml").read_text()
    assert evaluate(str(tmp_path / "run"), named)["accuracy"] == metrics["accuracy"]["mean"]
    with pytest.raises(MercError, match="neither M nor F"):
        evaluate(str(tmp_path / "run"), corpus)
    predictor = Predictor.load(tmp_path / "run")
    predictor.fingerprints = {}
    with pytest.raises(MercError, match="a recording does not name"):
        predictor.check({})


def test_another_model_is_trained_and_scored(corpus: Corpus, tmp_path: Path) -> None:
    """Protocol published has no run with an attached teacher: that is an option of CSS."""
    settings = ["model.d=8", "model.heads=2", "train.epochs=1", "train.threads=1"]
    config = load_configuration("synthetic", settings, "sdt")
    assert pickle.loads(pickle.dumps(config)) == config  # noqa: S301 - as worker processes get it
    metrics = train(corpus, config, "published", 1, tmp_path / "run")
    assert _names(tmp_path / "run") == FILES
    assert metrics["model"] == "sdt"
    assert "# sdt on synthetic" in (tmp_path / "run" / "card.md").read_text()
    assert evaluate(str(tmp_path / "run"), corpus)["accuracy"] == metrics["accuracy"]["mean"]
    assert train(corpus, config, "published", 1, tmp_path / "run") == metrics
