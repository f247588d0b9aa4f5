"""Training on a small corpus: the run folder, determinism, resuming, protocols, hostile corpora; scoring it again."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.asserts import assert_distribution
from support.paths import ROOT

from pipeline.core.dialogue import Corpus, Dialogue
from pipeline.corpora.synthetic import make_synthetic
from pipeline.corpora.table import load_table, save_table
from pipeline.training.compare import compare
from pipeline.training.config import Configuration, load_configuration
from pipeline.training.evaluate import evaluate
from pipeline.training.fit import fit
from pipeline.training.predictor import Predictor
from pipeline.training.protocols import part_corpus
from pipeline.training.train import train, train_corpus, train_protocols

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
}
TINY = [
    "model.d=16",
    "model.heads=2",
    "model.hidden=16",
    "model.rank=4",
    "train.epochs=3",
    "train.batch=8",
    "train.lr=5e-3",
    "train.threads=1",
]


def tiny(*more: str) -> Configuration:
    return load_configuration("synthetic", [*TINY, *more])


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return make_synthetic(24, 6, 8, 6)


@pytest.fixture(scope="module")
def run(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    out = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            os, "sched_getaffinity", lambda pid: {0}, raising=False
        )  # one core: seeds in this process
        train_protocols(corpus, tiny(), "both", 2, out)
    yield out


@pytest.fixture(scope="module")
def table(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables") / "table"
    save_table(corpus, folder)
    return folder


def edited(corpus: Corpus, change) -> Corpus:
    return replace(corpus, dialogues=[change(d) for d in corpus.dialogues])


def test_the_run_folder_is_whole(run: Path, corpus: Corpus) -> None:
    assert {f.name for f in run.iterdir()} == FILES | {"published"}
    assert {f.name for f in (run / "published").iterdir()} == FILES | {"attached"}
    assert {f.name for f in (run / "published" / "attached").iterdir()} == FILES
    metrics = json.loads((run / "metrics.json").read_text())
    per_seed = [entry["test"]["weighted_f1"] for entry in metrics["per_seed"]]
    assert metrics["weighted_f1"]["mean"] == pytest.approx(np.mean(per_seed))
    assert metrics["weighted_f1"]["sd"] == pytest.approx(np.std(per_seed, ddof=1))
    best = max(metrics["per_seed"], key=lambda entry: entry["valid"]["weighted_f1"])
    assert (
        best["valid"]["weighted_f1"]
        == next(e for e in metrics["per_seed"] if e["seed"] == metrics["best_seed"])["valid"][
            "weighted_f1"
        ]
    )
    assert metrics["gap"]["accuracy"] == pytest.approx(
        metrics["published"]["accuracy"]["mean"] - metrics["accuracy"]["mean"]
    )
    history = list(csv.DictReader((run / "history.csv").open()))
    assert len(history) == 2 * 3
    assert all(abs(sum(float(row[f"gamma{k}"]) for k in (1, 2, 3)) - 1) < 1e-6 for row in history)
    rows = list(csv.DictReader((run / "predictions.csv").open()))
    assert_distribution(
        np.array([[float(row[f"p_{label}"]) for label in corpus.labels] for row in rows]), 1e-9
    )
    assert "±" in (run / "card.md").read_text() and "leaky" in (run / "card.md").read_text()


def test_scored_again_the_figures_are_equal(run: Path, table: Path, tmp_path: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    best = next(entry for entry in metrics["per_seed"] if entry["seed"] == metrics["best_seed"])
    for split in ("test", "valid"):
        again = evaluate(str(run), table, split, predictions=tmp_path / "p.csv")
        for name in ("accuracy", "weighted_f1", "macro_f1", "macro_recall", "confusion"):
            assert again[name] == best[split][name]
    assert again["fingerprints"] == "equal"
    json.dumps(again, allow_nan=False)


def test_same_seed_same_files_however_many_at_a_time(
    run: Path, corpus: Corpus, tmp_path: Path
) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core: seeds never run side by side here")
    # in processes of their own; `run` had both in this one
    train_corpus(corpus, tiny("train.detach_teacher=false"), "published", 2, tmp_path / "again")
    for name in ("metrics.json", "model.safetensors", "predictions.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (
            run / "published" / "attached" / name
        ).read_bytes()


def test_killed_and_resumed_is_not_killed(corpus: Corpus, tmp_path: Path) -> None:
    config = tiny("train.drop_modality=0.3", "model.dropout=0.5")
    parts = part_corpus(corpus, config.data, "clean")
    fit(parts, config, 7, tmp_path / "whole")

    class Killed(Exception):
        pass

    def kill(row: dict) -> None:
        raise Killed

    for _ in range(3):  # each falls after training an epoch and before writing its checkpoint
        with pytest.raises(Killed):
            fit(parts, config, 7, tmp_path / "cut", kill)
    calls: list[int] = []

    def later(row: dict) -> None:
        calls.append(row["epoch"])
        if len(calls) == 2:
            raise Killed

    with pytest.raises(Killed):
        fit(parts, config, 7, tmp_path / "cut", later)
    fit(parts, config, 7, tmp_path / "cut", lambda row: calls.append(row["epoch"]))
    assert calls == [1, 2, 2, 3]
    for name in ("model.safetensors", "history.json"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_finished_run_is_returned_and_another_refused(
    run: Path, corpus: Corpus, tmp_path: Path
) -> None:
    before = (run / "published" / "metrics.json").read_bytes()
    train_corpus(corpus, tiny(), "published", 2, run / "published")
    assert (run / "published" / "metrics.json").read_bytes() == before
    with pytest.raises(FileExistsError, match="another run"):
        train_corpus(corpus, tiny("train.lr=1e-3"), "clean", 2, run)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not empty"):
        train_corpus(corpus, tiny(), "clean", 1, tmp_path)


def test_published_trains_on_valid_and_selects_on_test(corpus: Corpus) -> None:
    clean, leaky = (
        part_corpus(corpus, tiny().data, protocol) for protocol in ("clean", "published")
    )
    more = {d.id for d in leaky.train(0, 0)} - {d.id for d in clean.train(0, 0)}
    assert more == {d.id for d in corpus.split("valid")}
    assert [d.id for d in leaky.select] == [d.id for d in corpus.split("test")]
    assert [d.id for d in clean.select] == [d.id for d in corpus.split("valid")]


def test_parts_that_lack_are_carved_without_overlap(corpus: Corpus) -> None:
    single = replace(corpus, dialogues=[replace(d, split="train") for d in corpus.dialogues])
    parts = part_corpus(single, tiny().data, "clean")
    ids = [{d.id for d in part} for part in (parts.train(0, 0), parts.valid, parts.test)]
    assert sum(map(len, ids)) == len(set.union(*ids)) == len(corpus.dialogues)
    assert len(ids[1]) == round(0.1 * 38) and len(ids[2]) == round(0.15 * 38)
    assert sum("split_seed 0" in note for note in parts.notes) == 2
    other = part_corpus(single, tiny("data.split_seed=1").data, "clean")
    assert {d.id for d in other.test} != ids[2]


HOSTILE = {
    "no training": (lambda d: replace(d, split="test"), "no dialogue of the train split"),
    "one class": (
        lambda d: replace(d, labels=np.zeros_like(d.labels)),
        "only the class 'calm-odd'",
    ),
    "label out of range": (lambda d: replace(d, labels=d.labels + 1), "label 6"),
    "wrong width": (
        lambda d: replace(d, features=d.features | {"text": d.features["text"][:, 1:]}),
        "train000, text",
    ),
    "infinite": (
        lambda d: replace(d, features={m: rows * np.inf for m, rows in d.features.items()}),
        "train000",
    ),
    "enormous": (
        lambda d: replace(
            d, features={m: rows + np.float32(3e38) for m, rows in d.features.items()}
        ),
        "train000, text: a value of 3e\\+38",
    ),
    "one name": (lambda d: replace(d, id="same"), "same comes twice"),
    "nothing but NaN": (
        lambda d: replace(d, features={m: rows * np.nan for m, rows in d.features.items()}),
        "every feature of the training part is missing",
    ),
    "valid without labels": (
        lambda d: replace(d, labels=np.full_like(d.labels, -1)) if d.split == "valid" else d,
        "valid split has no labelled",
    ),
}


@pytest.mark.parametrize("fault", HOSTILE)
def test_a_corpus_that_cannot_train_is_refused(fault: str, corpus: Corpus) -> None:
    change, said = HOSTILE[fault]
    with pytest.raises(ValueError, match=said), np.errstate(invalid="ignore"):
        part_corpus(edited(corpus, change), tiny().data, "clean")


def test_an_impossible_model_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rank"):
        train("synthetic", None, "clean", 1, tmp_path / "run", ["model.rank=-3"])
    assert not (tmp_path / "run").exists()


def test_train_and_test_sharing_a_dialogue_is_refused(corpus: Corpus) -> None:
    shared = replace(
        corpus, dialogues=[*corpus.dialogues, replace(corpus.dialogues[0], split="test")]
    )
    with pytest.raises(ValueError, match="train000 is in train and test"):
        part_corpus(shared, tiny().data, "clean")


def test_odd_dialogues_train(tmp_path: Path) -> None:
    """One utterance, many speakers, missing rows and modalities, an unlabelled dialogue, a class never seen."""
    odd = make_synthetic(12, 3, 3, 4)
    for d in odd.dialogues[:4]:
        d.features["visual"][:] = np.nan
        d.features["audio"][0] = np.nan
        d.features["text"][0] = np.nan  # utterance 0 has nothing at all

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
    metrics = train_corpus(
        odd,
        tiny("train.drop_modality=0.5", "train.class_weights=inverse", "model.speakers=2"),
        "clean",
        1,
        tmp_path / "run",
    )
    assert any("never" in note for note in metrics["notes"])
    assert any(
        "more speakers than model.speakers = 2, such as" in note for note in metrics["notes"]
    )
    assert any(note.startswith("visual is missing in") for note in metrics["notes"])
    predictor = Predictor.load(tmp_path / "run")
    rows = {
        prior: predictor.probabilities(odd.dialogues[0], prior) for prior in ("train", "uniform")
    }
    for p in rows.values():
        assert_distribution(p)
    assert np.allclose(rows["train"][0], np.exp(predictor.checkpoint.log_prior), atol=1e-6)
    assert np.allclose(rows["uniform"][0], 1 / len(odd.labels))
    share = rows["train"] / np.exp(predictor.checkpoint.log_prior)
    assert np.allclose(rows["uniform"], share / share.sum(1, keepdims=True))


def test_training_that_leaves_the_numbers_is_told(corpus: Corpus, tmp_path: Path) -> None:
    config = tiny("train.lr=10", "train.batch=2")
    config.train.lr = 1e30
    with pytest.raises(ValueError, match=r"finite numbers.*train\.lr"):
        train_corpus(corpus, config, "clean", 1, tmp_path / "run")
    train_corpus(
        corpus, tiny("train.epochs=1"), "clean", 1, tmp_path / "run"
    )  # nothing of it is in the way


def test_evaluation_refuses_what_the_model_cannot_know(
    run: Path, corpus: Corpus, tmp_path: Path
) -> None:
    def said(change: Corpus, message: str, split: str = "test") -> None:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        save_table(change, folder)
        with pytest.raises(ValueError, match=message):
            evaluate(str(run), folder, split)

    said(replace(corpus, labels=("bored", *corpus.labels[1:])), "does not know: bored")
    wide = edited(
        corpus, lambda d: replace(d, features={m: np.tile(r, 2) for m, r in d.features.items()})
    )
    said(
        replace(wide, widths={m: 2 * w for m, w in corpus.widths.items()}),
        "takes text features of width 32",
    )
    assert corpus.fingerprints is not None
    other = corpus.fingerprints | {"audio": {"extractor": "other"}}
    said(replace(corpus, fingerprints=other), "other audio features")
    said(replace(corpus, dialogues=corpus.split("train")), "test split has no labelled.*train")
    with pytest.raises(FileNotFoundError, match="no such model"):
        evaluate(str(tmp_path / "nowhere"), tmp_path)


def test_a_table_with_fewer_labels_and_modalities_is_scored_on_all_labels(
    run: Path, corpus: Corpus, tmp_path: Path
) -> None:
    few = edited(
        corpus,
        lambda d: replace(
            d,
            labels=np.where(d.labels == 1, 0, -1),
            features={"text": d.features["text"], "audio": d.features["audio"]},
        ),
    )
    save_table(
        replace(
            few,
            labels=("calm-even",),
            widths={m: corpus.widths[m] for m in ("text", "audio")},
            fingerprints=None,
        ),
        tmp_path,
    )
    result = evaluate(str(run), tmp_path)
    assert len(result["labels"]) == 6 and np.array(result["confusion"]).shape == (6, 6)
    assert (
        result["macro_recall"] == result["per_class"]["calm-even"]["recall"] == result["accuracy"]
    )
    assert result["modalities"] == {"text": 1.0, "audio": 1.0, "visual": 0.0}
    assert result["fingerprints"] == "unknown" and any("visual" in w for w in result["warnings"])


def test_runs_compare(run: Path) -> None:
    result = compare(run, run / "published", draws=200)
    metrics = json.loads((run / "metrics.json").read_text())
    assert -result["difference"] == pytest.approx(metrics["gap"]["weighted_f1"])
    assert compare(run, run, draws=200)["p"] == 1


def test_labelling_refuses_features_of_unknown_origin(corpus: Corpus, run: Path) -> None:
    predictor = Predictor.load(run)
    predictor.check(corpus.fingerprints)
    predictor.fingerprints = None
    with pytest.raises(ValueError, match="unknown origin"):
        predictor.check(corpus.fingerprints)


def test_tensorboard_has_what_the_history_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    small = ["model.d=8", "model.heads=2", "model.hidden=8", "train.epochs=2", "train.threads=1"]
    train("synthetic", None, "clean", 1, tmp_path / "run", small, tensorboard=True)
    curves = events.EventAccumulator(str(tmp_path / "run" / "tensorboard" / "seed-0"))
    curves.Reload()
    history = list(csv.DictReader((tmp_path / "run" / "history.csv").open()))
    for tag, column in (
        ("loss/loss3", "loss3"),
        ("gamma/gamma1", "gamma1"),
        ("select/select_weighted_f1", "select_weighted_f1"),
    ):
        found = {event.step: event.value for event in curves.Scalars(tag)}
        assert found == pytest.approx(
            {int(row["epoch"]): float(row[column]) for row in history}, rel=1e-5
        )
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match=r"merc\[tensorboard\]"):
        train("synthetic", None, "clean", 1, tmp_path / "other", small, tensorboard=True)
    assert not (tmp_path / "other").exists()


def test_torchrun_with_two_processes_equals_one(table: Path, tmp_path: Path) -> None:
    """The whole command; without dropout, whose masks belong to a rank.  The last batch leaves a rank without data."""
    settings = [*TINY, "train.batch=23", "model.dropout=0", "train.class_weights=inverse"]
    train_corpus(
        load_table(table), load_configuration(str(table), settings), "clean", 1, tmp_path / "one"
    )
    command = [
        "-c",
        "from pipeline.cli.app import main; main()",
        "train",
        "--dataset",
        str(table),
        "--seeds",
        "1",
        *(part for value in settings for part in ("--set", value)),
        "--out",
        str(tmp_path / "two"),
    ]
    torchrun = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "--no-python",
        sys.executable,
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *torchrun, *command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    one, two = (
        np.loadtxt(tmp_path / name / "history.csv", delimiter=",", skiprows=1)
        for name in ("one", "two")
    )
    np.testing.assert_allclose(two, one, rtol=1e-3, atol=1e-4)
    one, two = (
        np.array(
            [
                [float(row[k]) for k in row if k.startswith("p_")]
                for row in csv.DictReader((tmp_path / name / "predictions.csv").open())
            ]
        )
        for name in ("one", "two")
    )
    np.testing.assert_allclose(two, one, atol=2e-3)
