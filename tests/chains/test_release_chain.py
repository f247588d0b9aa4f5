"""Raw releases built from real clips, through the whole chain.

With faulty files, with processes that are killed, and with split screens.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.clips import write_wav
from support.paths import ROOT
from support.releases import HEADER, build_iemocap, build_meld, meld_row, small_roberta
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.corpora import Source
from pipeline.corpora.release import clip_seconds
from pipeline.corpora.splits import expected_dialogues
from pipeline.features.extract import ExtractOptions, extract
from pipeline.features.extract_release import extract_release
from pipeline.features.profiles import ExtractorOptions
from pipeline.features.store import Store
from pipeline.loading import load_corpus
from pipeline.training.predictor import Predictor

MERC = [sys.executable, "-c", "from pipeline.cli.app import main; main()"]
SETTINGS = {
    "train.epochs": "2",
    "train.lr": "1e-3",
    "train.threads": "1",
    "model.d": "16",
    "model.heads": "2",
    "model.hidden": "16",
}
SMALL = ["--seeds", "1", *(f"--set={key}={value}" for key, value in SETTINGS.items())]


@pytest.fixture(scope="module")
def meld(shared, tmp_path_factory) -> Path:
    """Four dialogues with 1.2 s per utterance, with a fault of each kind."""
    root = tmp_path_factory.mktemp("releases") / "MELD.Raw"
    folders = build_meld(root, shared, {"train": [7, 10], "dev": [0], "test": [3]}, 1.2)
    train, test = folders["train"], folders["test"]
    with (root / "train_sent_emo.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    rows += [
        rows[0],
        meld_row(7, 50, "Joey", "joy", "No clip’s there."),
        meld_row(7, 51, "Joey", "joy", "Broken."),
        meld_row(309, 0, "Joey", "anger", "Five minutes."),
        meld_row(125, 3, "Ross", "fear", "No moov atom."),
    ]
    with (root / "train_sent_emo.csv").open("w", encoding="cp1252", newline="") as file:
        csv.writer(file).writerows([HEADER, *rows])
    clip = (train / "dia10_utt0.mp4").read_bytes()
    for name in ("dia7_utt51.mp4", "dia125_utt3.mp4"):
        (train / name).write_bytes(clip[:2000])
    # five minutes for an utterance of 2 s
    write_wav(train / "long.wav", [np.zeros(300 * 8000)], 8000).rename(train / "dia309_utt0.MP4")
    (train / "._dia7_utt0.mp4").write_bytes(b"\0\5\x16\7")
    (train / "dia9_utt9.mp4").write_bytes(clip)
    (test / "final_videos_testdia3_utt0.mp4").write_bytes((test / "dia3_utt1.mp4").read_bytes())
    (root / "dev.tar.gz.part").write_bytes(b"\x1f\x8b")
    return root


@pytest.fixture(scope="module")
def iemocap(shared, tmp_path_factory) -> Path:
    """Three dialogues; in the last, the actors have swapped sides and sounds are missing."""
    root = tmp_path_factory.mktemp("releases") / "IEMOCAP_full_release"
    build_iemocap(root, shared, ["Ses01F_impro01", "Ses05M_impro01"], 2, 2.2)
    valid = expected_dialogues("iemocap", "valid")[0]
    build_iemocap(root, shared, [valid], 2, 2.2, swap=True)
    for path in (root / f"Session{valid[4]}" / "sentences").rglob("*000.wav"):
        path.unlink()
    return root


@pytest.fixture(scope="module")
def roberta(iemocap, tmp_path_factory) -> Path:
    texts = [path.read_text("utf-8") for path in iemocap.rglob("transcriptions/*.txt")]
    return small_roberta(tmp_path_factory.mktemp("roberta"), texts)


def run(command: str, **options: Any) -> Any:
    """Run merc in this process; data=..., text_model=... become --data, --text-model."""
    small = SMALL if command == "train" else []
    arguments = [command, *small]
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        arguments += [option] if value is True else [option, str(value)]
    return CliRunner().invoke(app, arguments)


def killed(folder: Path, pattern: str, n: int, *arguments: str | Path) -> bool:
    """Run merc in another process and kill it once `folder` holds n files of a pattern."""
    process = subprocess.Popen(
        [*MERC, *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )
    while process.poll() is None and len(list(folder.rglob(pattern))) < n:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def content(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def test_a_run_that_was_killed_twice_equals_one_that_was_not(meld, tmp_path):
    whole, broken, store = tmp_path / "whole", tmp_path / "broken", tmp_path / "store"
    command = ["train", "--dataset", "meld", "--data", meld, "--profile", "offline", *SMALL]
    options = {"dataset": "meld", "data": meld, "profile": "offline"}
    assert killed(store, "audio-*", 4, *command, "--store", store, "--out", broken)
    assert not broken.exists() and len(list(store.rglob("visual-*"))) < 13
    assert killed(broken, "checkpoint.pt", 1, *command, "--store", store, "--out", broken)
    assert not (broken / "metrics.json").exists()
    before = content(store)
    resumed = run("train", **options, store=store, out=broken, json=True)
    assert resumed.exit_code == 1, resumed.stderr  # one clip is broken, and nothing else
    assert "nothing to do" in resumed.stderr and content(store) == before
    rows = list(csv.DictReader((broken / "failures.csv").open(encoding="utf-8-sig", newline="")))
    assert [row["input"] for row in rows] == [f"{meld}/train dia7_utt51"] and rows[0]["remedy"]

    straight = run("train", **options, store=tmp_path / "other", out=whole, json=True)
    assert straight.exit_code == 1, straight.stderr
    assert content(tmp_path / "other") == before
    assert (whole / "model.safetensors").read_bytes() == (broken / "model.safetensors").read_bytes()
    assert json.loads(straight.stdout) == json.loads(resumed.stdout)

    again = run("train", **options, store=store, out=broken)
    assert again.exit_code == 1 and "nothing to do" in again.stderr
    predictor = Predictor.load(broken)
    assert predictor.profile == "offline"
    assert predictor.widths == {"text": 384, "audio": 768, "visual": 342}


def test_a_release_gives_the_features_of_its_clips(meld, tmp_path):
    """A clip next to a CSV with its line: the same files in the store, to the byte."""
    options = ExtractOptions("offline")
    source = Source("release", "meld", meld)
    summary = extract_release(source, tmp_path / "release", options)
    with (meld / "train_sent_emo.csv").open(encoding="cp1252", newline="") as file:
        lines = {(row["Dialogue_ID"], row["Utterance_ID"]): row for row in csv.DictReader(file)}
    clip, line = meld / "train" / "train_splits" / "dia10_utt2.mp4", lines["10", "2"]
    shutil.copy(clip, tmp_path / "clip.mp4")
    with (tmp_path / "clip.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("start", "end", "speaker", "text"))
        writer.writerow(("0.0000", f"{clip_seconds(clip):.4f}", line["Speaker"], line["Utterance"]))
    file = extract([tmp_path / "clip.mp4"], tmp_path / "files", options).files[0]
    from_clip = content(Store(tmp_path / "files").folder(file.medium))
    from_release = content(Store(tmp_path / "release").folder(file.medium))
    features = [name for name in from_clip if name.endswith(".safetensors")]
    assert len(features) == 3
    assert all(from_clip[name] == from_release[name] for name in features)

    by_name = {
        (d.split, name): (d, k)
        for d in summary.corpus.dialogues
        for k, name in enumerate(d.utterances)
    }
    # an utterance without a usable clip has its text alone
    for name, expected in (
        ("dia7_utt50", "t"),
        ("dia7_utt51", "t"),
        ("dia309_utt0", "t"),
        ("dia125_utt3", "t"),
        ("dia10_utt0", "tav"),
    ):
        d, k = by_name["train", name]
        present = "".join(m[0] for m in d.features if not np.isnan(d.features[m][k]).any())
        assert present == expected, name
    # of two clips of a test utterance, final_videos_test... is used: here a copy of utterance 1
    d, k = by_name["test", "dia3_utt0"]
    other, j = by_name["test", "dia3_utt1"]
    np.testing.assert_array_equal(d.features["audio"][k], other.features["audio"][j])
    assert [failure.input for failure in summary.failures] == [f"{meld}/train dia7_utt51"]
    assert {finding.kind for finding in summary.raw.findings} >= {
        "hidden copy",
        "other case",
        "other encoding",
        "still packed",
        "no clip",
        "broken clip",
        "mis-cut clip",
        "clip without row",
        "row again",
    }
    assert any("final_videos_test" in note for note in summary.raw.notes)


def test_iemocap_reads_each_half_and_detects_swapped_sides(iemocap, roberta, tmp_path):
    options = ExtractOptions("roberta", ExtractorOptions(text_model=str(roberta)))
    source, store, table = Source("release", "iemocap", iemocap), tmp_path / "s", tmp_path / "table"
    summary = extract_release(source, store, options)
    assert not summary.failures and summary.corpus.widths["text"] == 32
    for d in summary.corpus.dialogues:
        assert all(not np.isnan(rows).any() for rows in d.features.values()), d.id
    sides = {Path(name).stem: pair for name, pair in summary.sides.items()}
    valid = summary.corpus.split("valid")[0].id
    assert all(same >= other for name, (same, other) in sides.items() if name != valid)
    assert sum(same for name, (same, _) in sides.items() if name != valid) >= 2
    assert sides[valid][1] > sides[valid][0]
    assert any(valid in str(warning) for warning in summary.warnings)

    # with the sides exchanged, the swapped dialogue is right and has the other face everywhere
    other = extract_release(source, store, options, left="other")
    swapped = {Path(name).stem: pair for name, pair in other.sides.items()}[valid]
    assert swapped == sides[valid][::-1]
    one, two = (s.corpus.split("valid")[0].features["visual"] for s in (summary, other))
    assert not np.allclose(one, two)

    release = {"dataset": "iemocap", "data": iemocap, "text_model": roberta}
    result = run("extract", **release, profile="roberta", out=store, table=table, json=True)
    assert result.exit_code == 0, result.stderr
    shown = json.loads(result.stdout)
    assert shown["nothing_done"] and shown["parts"]["train"]["labelled"] == 2
    corpus = load_corpus("iemocap", table)
    assert corpus.fingerprints == summary.corpus.fingerprints
    for d, same in zip(corpus.dialogues, summary.corpus.dialogues, strict=True):
        assert all(np.array_equal(d.features[m], same.features[m]) for m in d.features)
        assert d.split == same.split

    trained = run("train", **release, store=store, out=tmp_path / "run", json=True)
    assert trained.exit_code == 0 and "nothing to do" in trained.stderr, trained.stderr
    assert json.loads(trained.stdout)["parts"]["test"]["labelled"] == 2
    refused = run("train", dataset="iemocap", data=table, store=tmp_path, out=tmp_path / "no")
    assert refused.exit_code == 2 and "--store" in refused.stderr


def test_a_table_of_something_else_is_not_replaced(iemocap, roberta, tmp_path):
    (tmp_path / "utterances.csv").write_text("mine", "utf-8")
    options = {"dataset": "iemocap", "data": iemocap, "text_model": roberta}
    refused = run("extract", **options, table=tmp_path)
    assert refused.exit_code == 2 and "another table" in refused.stderr
    assert (tmp_path / "utterances.csv").read_text("utf-8") == "mine"


def test_unusable_arguments_are_refused_before_any_work(meld, tmp_path, monkeypatch):
    monkeypatch.delenv("MERC_DATA", raising=False)
    release = {"dataset": "meld", "data": meld}
    out = tmp_path / "r"
    for command, options, message in (
        ("extract", {"dataset": "iemocap", "data": meld}, "use --dataset meld"),
        ("extract", {"dataset": "meld", "data": tmp_path}, "no raw release"),
        ("extract", {"dataset": "friends", "data": meld}, "choose from"),
        ("extract", release | {"profile": "offline", "transcript": meld}, "leave"),
        ("extract", {"dataset": "meld"}, "with --data"),
        ("train", release | {"profile": "large", "out": out}, "profile"),
        ("train", {"dataset": "synthetic", "profile": "offline", "out": out}, "raw release"),
    ):
        result = run(command, **options)
        assert result.exit_code == 2 and message in result.stderr, (options, result.stderr)
    result = CliRunner().invoke(app, ["extract", str(meld), "--dataset", "meld"])
    assert result.exit_code == 2 and "either" in result.stderr
    assert not list(tmp_path.iterdir())
