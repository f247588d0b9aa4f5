"""Raw releases built from real clips, through the whole chain: faults, kills and halves of the picture included."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.clips import write_wav
from support.paths import ROOT
from support.releases import HEADER, build_iemocap, build_meld, meld_row, small_roberta
from typer.testing import CliRunner

from css_model import Normaliser
from pipeline.cli.app import app
from pipeline.core.dialogue import Dialogue
from pipeline.corpora import load_corpus
from pipeline.corpora.release import clip_seconds
from pipeline.corpora.splits import expected_dialogues
from pipeline.features.extract import ExtractOptions, extract
from pipeline.features.extract_release import extract_corpus
from pipeline.features.profiles import ExtractorOptions
from pipeline.features.split_screen import SURE, agreement
from pipeline.features.store import Store
from pipeline.training.column_selection import select_columns
from pipeline.training.predictor import Predictor

MERC = [sys.executable, "-c", "from pipeline.cli.app import main; main()"]
SMALL = [
    "--seeds",
    "1",
    *(
        part
        for key in (
            "train.epochs=2",
            "train.lr=1e-3",
            "train.threads=1",
            "model.d=16",
            "model.heads=2",
            "model.hidden=16",
        )
        for part in ("--set", key)
    ),
]


@pytest.fixture(scope="module")
def meld(shared, tmp_path_factory) -> Path:
    """Three dialogues, two seconds a line, with a fault of each kind."""
    root = tmp_path_factory.mktemp("releases") / "MELD.Raw"
    places = build_meld(root, shared, {"train": [7, 10], "dev": [0], "test": [3]}, 1.2)
    train = places["train"]
    rows = list(csv.reader((root / "train_sent_emo.csv").open(encoding="utf-8", newline="")))
    rows += [
        rows[1],
        meld_row(7, 50, "Joey", "joy", "No clip’s there."),
        meld_row(7, 51, "Joey", "joy", "Broken."),
        meld_row(309, 0, "Joey", "anger", "Five minutes."),
        meld_row(125, 3, "Ross", "fear", "No moov atom."),
    ]
    with (root / "train_sent_emo.csv").open("w", encoding="cp1252", newline="") as file:
        csv.writer(file).writerows([HEADER, *rows[1:]])
    clip = (train / "dia10_utt0.mp4").read_bytes()
    for name in ("dia7_utt51.mp4", "dia125_utt3.mp4"):
        (train / name).write_bytes(clip[:2000])
    write_wav(train / "long.wav", [np.zeros(300 * 8000)], 8000).rename(
        train / "dia309_utt0.MP4"
    )  # for a line of 2 s
    (train / "._dia7_utt0.mp4").write_bytes(b"\0\5\x16\7")
    (train / "dia9_utt9.mp4").write_bytes(clip)
    test = places["test"]
    (test / "final_videos_testdia3_utt0.mp4").write_bytes((test / "dia3_utt1.mp4").read_bytes())
    (root / "dev.tar.gz.part").write_bytes(b"\x1f\x8b")
    return root


def run(*arguments: str | Path) -> Any:
    """merc in this process."""
    return CliRunner().invoke(app, [str(part) for part in arguments])


def killed(folder: Path, pattern: str, n: int, *arguments: str | Path) -> bool:
    """merc in a process of its own, killed outright once n files of that pattern lie in the folder."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [*MERC, *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    while process.poll() is None and len(list(folder.rglob(pattern))) < n:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def content(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def test_one_command_twice_killed_equals_one_never_killed(meld, tmp_path):
    whole, broken, store = tmp_path / "whole", tmp_path / "broken", tmp_path / "store"
    command = ["train", "--dataset", "meld", "--data", meld, "--profile", "offline", *SMALL]
    assert killed(store, "audio-*", 4, *command, "--store", store, "--out", broken)
    assert not broken.exists() and len(list(store.rglob("visual-*"))) < 13
    assert killed(broken, "checkpoint.pt", 1, *command, "--store", store, "--out", broken)
    assert not (broken / "metrics.json").exists()
    before = content(store)
    resumed = run(*command, "--store", store, "--out", broken, "--json")
    assert resumed.exit_code == 1, resumed.stderr  # one clip is broken, and nothing else
    assert "nothing to do" in resumed.stderr and content(store) == before
    rows = list(csv.DictReader((broken / "failures.csv").open(newline="")))
    assert [row["input"] for row in rows] == ["train dia7_utt51"] and rows[0]["remedy"]

    straight = run(*command, "--store", tmp_path / "other", "--out", whole, "--json")
    assert straight.exit_code == 1, straight.stderr
    assert content(tmp_path / "other") == before  # the same bytes, whatever was killed
    assert (whole / "model.safetensors").read_bytes() == (broken / "model.safetensors").read_bytes()
    assert json.loads(straight.stdout) == json.loads(resumed.stdout)

    again = run(*command, "--store", store, "--out", broken)
    assert again.exit_code == 1 and "nothing to do" in again.stderr
    predictor = Predictor.load(broken)
    assert predictor.profile == "offline" and predictor.widths == {
        "text": 384,
        "audio": 1582,
        "visual": 342,
    }


def test_a_release_gives_what_its_files_give(meld, tmp_path):
    """A clip with its line as CSV beside it: the same files in the store, to the byte."""
    options = ExtractOptions("offline")
    summary = extract_corpus("meld", meld, tmp_path / "release", options, quiet=True)
    clip = meld / "train" / "train_splits" / "dia10_utt2.mp4"
    store = Store(tmp_path / "release")
    line = next(
        row
        for row in csv.DictReader((meld / "train_sent_emo.csv").open(encoding="cp1252", newline=""))
        if (row["Dialogue_ID"], row["Utterance_ID"]) == ("10", "2")
    )
    shutil.copy(clip, tmp_path / "clip.mp4")
    with (tmp_path / "clip.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("start", "end", "speaker", "text"))
        writer.writerow(("0.0000", f"{clip_seconds(clip):.4f}", line["Speaker"], line["Utterance"]))
    file = extract([tmp_path / "clip.mp4"], tmp_path / "files", options, quiet=True).files[0]
    own = content(Store(tmp_path / "files").folder(file.medium))
    theirs = content(store.folder(file.medium))
    features = [name for name in own if name.endswith(".safetensors")]
    assert len(features) == 3 and all(own[name] == theirs[name] for name in features)

    # policies: words alone for what has no usable clip, the reshot test clip for the first
    by = {
        (d.split, name): (d, k)
        for d in summary.corpus.dialogues
        for k, name in enumerate(d.utterances)
    }
    for name, there in (
        ("dia7_utt50", "t"),
        ("dia7_utt51", "t"),
        ("dia309_utt0", "t"),
        ("dia125_utt3", "t"),
        ("dia10_utt0", "tav"),
    ):
        d, k = by["train", name]
        assert "".join(m[0] for m in d.features if not np.isnan(d.features[m][k]).any()) == there, (
            name
        )
    d, k = by["test", "dia3_utt0"]
    other, j = by["test", "dia3_utt1"]
    np.testing.assert_array_equal(d.features["audio"][k], other.features["audio"][j])
    assert [failure.input for failure in summary.failures] == ["train dia7_utt51"]
    found = {finding.kind for finding in summary.raw.findings}
    assert found >= {
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


@pytest.fixture(scope="module")
def iemocap(shared, tmp_path_factory) -> Path:
    """Four dialogues, the second with the actors on the other sides and without some of its sounds."""
    root = tmp_path_factory.mktemp("releases") / "IEMOCAP_full_release"
    build_iemocap(root, shared, ["Ses01F_impro01", "Ses05M_impro01"], 2, 1.6)
    valid = expected_dialogues("iemocap", "valid")[0]
    build_iemocap(root, shared, [valid], 2, 1.6, swap=True)
    for path in (root / f"Session{valid[4]}" / "sentences").rglob("*000.wav"):
        path.unlink()
    return root


def test_iemocap_reads_each_half_and_tells_swapped_sides(iemocap, shared, tmp_path):
    texts = [path.read_text("utf-8") for path in iemocap.rglob("transcriptions/*.txt")]
    roberta = small_roberta(tmp_path / "roberta", texts)
    options = ExtractOptions("roberta", ExtractorOptions(text_model=str(roberta)))
    summary = extract_corpus("iemocap", iemocap, tmp_path / "store", options, quiet=True)
    assert not summary.failures and summary.corpus.widths["text"] == 32
    for d in summary.corpus.dialogues:
        assert all(not np.isnan(rows).any() for rows in d.features.values()), d.id
    sides = {Path(name).stem: pair for name, pair in summary.sides.items()}
    valid = summary.corpus.split("valid")[0].id
    assert all(own >= other for name, (own, other) in sides.items() if name != valid)
    assert sum(own for name, (own, _) in sides.items() if name != valid) >= 2
    assert sides[valid][1] > sides[valid][0] and any(
        valid in warning for warning in summary.warnings
    )

    # with the sides exchanged the swapped dialogue is right, and shows the other face of each line
    other = extract_corpus(
        "iemocap", iemocap, tmp_path / "store", options, left="other", quiet=True
    )
    swapped = {Path(name).stem: pair for name, pair in other.sides.items()}[valid]
    assert swapped == sides[valid][::-1]
    one, two = (s.corpus.split("valid")[0].features["visual"] for s in (summary, other))
    assert not np.allclose(one, two)

    table = tmp_path / "table"
    answer = run(
        "extract",
        "--dataset",
        "iemocap",
        "--data",
        iemocap,
        "--profile",
        "roberta",
        "--text-model",
        roberta,
        "--out",
        tmp_path / "store",
        "--table",
        table,
        "--json",
    )
    told = json.loads(answer.stdout)
    assert (
        answer.exit_code == 0 and told["nothing_done"] and told["parts"]["train"]["labelled"] == 2
    )
    kept = load_corpus("iemocap", table)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "utterances.csv").write_text("mine", "utf-8")
    refused = run(
        "extract",
        "--dataset",
        "iemocap",
        "--data",
        iemocap,
        "--text-model",
        roberta,
        "--table",
        tmp_path / "mine",
    )
    assert refused.exit_code == 2 and "another table" in refused.stderr
    assert kept.fingerprints == summary.corpus.fingerprints
    for d, same in zip(kept.dialogues, summary.corpus.dialogues, strict=True):
        assert (
            all(np.array_equal(d.features[m], same.features[m]) for m in d.features)
            and d.split == same.split
        )
    trained = run(
        "train",
        "--dataset",
        "iemocap",
        "--data",
        iemocap,
        "--text-model",
        roberta,
        "--store",
        tmp_path / "store",
        "--out",
        tmp_path / "run",
        "--json",
        *SMALL,
    )
    assert trained.exit_code == 0 and "nothing to do" in trained.stderr, trained.stderr
    assert json.loads(trained.stdout)["parts"]["test"]["labelled"] == 2
    refused = run(
        "train",
        "--dataset",
        "iemocap",
        "--data",
        table,
        "--store",
        tmp_path,
        "--out",
        tmp_path / "no",
    )
    assert refused.exit_code == 2 and "--store" in refused.stderr


def test_only_sure_mouths_vote():
    rows = [
        {"half": "l", "mouth": "l", "mouth_confidence": SURE},
        {"half": "l", "mouth": "r", "mouth_confidence": 0.2},
        {"half": "r", "mouth": "l", "mouth_confidence": 0.99},
        {"half": "r"},
    ]
    assert agreement(rows) == (1, 1)


def test_what_cannot_be_used_is_refused_before_any_work(meld, tmp_path):
    for arguments, said in (
        (["extract", "--dataset", "iemocap", "--data", meld], "use --dataset meld"),
        (["extract", "--dataset", "meld", "--data", tmp_path], "no raw release"),
        (["extract", "--dataset", "friends", "--data", meld], "choose from"),
        (
            [
                "extract",
                "--dataset",
                "meld",
                "--data",
                meld,
                "--profile",
                "offline",
                "--transcript",
                meld,
            ],
            "leave",
        ),
        (["extract", meld, "--dataset", "meld"], "either"),
        (["extract", "--dataset", "meld"], "with --data"),
        (
            [
                "train",
                "--dataset",
                "meld",
                "--data",
                meld,
                "--profile",
                "large",
                "--out",
                tmp_path / "r",
            ],
            "profile",
        ),
        (
            ["train", "--dataset", "synthetic", "--profile", "offline", "--out", tmp_path / "r"],
            "raw release",
        ),
    ):
        answer = run(*arguments)
        assert answer.exit_code == 2 and said in answer.stderr, (arguments, answer.stderr)
    assert not list(tmp_path.iterdir())


def test_columns_are_chosen_on_training_labels_and_kept_with_the_model():
    chance = np.random.default_rng(0)
    labels = chance.integers(0, 3, 200)
    rows = chance.normal(size=(200, 30)).astype(np.float32)
    rows[:, [3, 17, 28]] += 2 * labels[:, None]
    rows[5] = np.nan  # a missing feature
    d = Dialogue(
        "a",
        "train",
        list(map(str, range(200))),
        ["s"] * 200,
        [""] * 200,
        np.where(np.arange(200) < 9, -1, labels),
        {"audio": rows},
    )
    columns = select_columns([d], "audio", 3)
    assert columns.tolist() == [3, 17, 28]
    blind = replace(d, features={"audio": np.where((d.labels < 0)[:, None], rows[:, ::-1], rows)})
    assert select_columns([blind], "audio", 3).tolist() == [
        3,
        17,
        28,
    ]  # without a label it has no say
    with pytest.raises(ValueError, match="30 columns"):
        select_columns([d], "audio", 31)
    chosen = Normaliser("speaker", columns={"audio": columns}).fit([d])
    plain = Normaliser("speaker").fit([replace(d, features={"audio": rows[:, columns]})])
    want = plain.apply({"audio": rows[:, columns]}, d.speakers)["audio"]
    again = Normaliser.from_parts(chosen.to_dict(), chosen.tensors())
    for one in (chosen, again):
        np.testing.assert_array_equal(one.apply(d.features, d.speakers)["audio"], want)
        assert one.widths({"audio": 30, "text": 5}) == {"audio": 3, "text": 5} and one.inputs == {
            "audio": 30
        }
    with pytest.raises(ValueError, match="expected 30"):
        again.apply({"audio": rows[:, :29]}, d.speakers)
    with pytest.raises(ValueError, match="belong together"):
        Normaliser.from_parts({"method": "corpus"}, chosen.tensors())
