"""Raw IEMOCAP and MELD trees, built from real clips with every fault that copies have."""

from __future__ import annotations

import csv
import json
import math
import shutil
import wave
from pathlib import Path

import pytest
from support.releases import FOLDERS, HEADER
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.core.errors import MercError
from pipeline.corpora import find_release, find_source, read_corpus
from pipeline.corpora.iemocap_release import read_iemocap_raw
from pipeline.corpora.meld_release import KNOWN, read_meld_raw, seconds
from pipeline.corpora.release import recognise_release
from pipeline.corpora.release_check import check
from pipeline.corpora.splits import expected_dialogues, iemocap_utterances

LAYOUTS = {
    "flat": "{folder}",
    "nested": "{part}/{folder}",
    "deep": "MELD.Raw/{part}/{folder}/{folder}",
}


def row(dialogue, utterance, emotion="joy", length=3.0, text="Hi"):
    end = f"00:00:{10 + int(length):02d},{round(length % 1 * 1000):03d}"
    return [1, text, "Ross", emotion, "positive", dialogue, utterance, 1, 1, "0:00:10,000", end]


def meld(root, rows, layout="flat", encoding="utf-8"):
    """Build a tree of {part: rows}; return the folder of each part's clips."""
    places = {}
    for part, lines in rows.items():
        places[part] = root / LAYOUTS[layout].format(folder=FOLDERS[part], part=part)
        places[part].mkdir(parents=True, exist_ok=True)
        with open(root / f"{part}_sent_emo.csv", "w", encoding=encoding, newline="") as file:
            csv.writer(file).writerows([HEADER, *lines])
    return places


def kinds(corpus):
    return {f.item: f.kind for f in corpus.findings if f.kind != "no dialogue"}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_fault_of_meld_has_its_policy(tmp_path, media, layout):
    clip, longer = media / "grid" / "bbaf2n.mpg", media / "hamilton.mp4"
    root = tmp_path / "MELD.Raw"
    places = meld(
        root,
        {
            "train": [
                row(0, 0),
                row(0, 2, "anger"),
                row(0, 2, "fear"),
                row(1, 0),
                row(2, 0),
                row(3, 0),
                row(309, 0),
                row(4, 0, length=0.0),
                row(5, 0, "bored"),
                row(757, 1),
            ],
            "dev": [row(0, 0), row(110, 7)],
            "test": [row(0, 0), row(0, 1)],
        },
        layout,
    )
    for part, name in (
        ("train", "dia0_utt0.mp4"),
        ("train", "dia0_utt2.MP4"),
        ("train", "dia309_utt0.mp4"),
        ("train", "dia4_utt0.mp4"),
        ("train", "dia99_utt9.mp4"),
        ("train", "._dia0_utt0.mp4"),
        ("train", "dia757_utt1.mp4"),
        ("dev", "dia0_utt0.mp4"),
        ("test", "dia0_utt0.mp4"),
        ("test", "dia0_utt1.mp4"),
        ("test", "final_videos_testdia0_utt1.mp4"),
    ):
        shutil.copy(clip, places[part] / name)
    shutil.copy(longer, root / "spare.mp4")
    shutil.copy(
        longer, places["train"] / "dia2_utt0.mp4"
    )  # 10 s for a line of 3: long, not minutes
    (places["train"] / "dia3_utt0.mp4").write_bytes(longer.read_bytes()[:100])  # no moov atom
    shutil.copy(clip, root / "dia7_utt7.mp4")
    (root / "test.tar.gz").write_bytes(b"\x1f\x8b")
    corpus = read_meld_raw(root)
    findings = kinds(corpus)
    assert findings.pop("train_sent_emo.csv row 10") == "bad row"
    assert findings.pop("test.tar.gz") == "still packed"
    assert [findings.pop(item) for item in ("._*", "endings in capitals")] == [
        "hidden copy",
        "other case",
    ]
    assert findings.pop("dia7_utt7.mp4") == "unplaced clip"
    assert findings == {
        "train dia0_utt2": "row again",
        "train dia1_utt0": "no clip",
        "train dia3_utt0": "broken clip",
        "train dia4_utt0": "bad time",
        "train dia99_utt9": "clip without row",
        "train dia757_utt1": "doubtful clip",
        "dev dia110_utt7": "no clip",
    }
    by = {(u.split, u.name): u for u in corpus.utterances}
    assert by["train", "dia0_utt2"].label == 6 and by["train", "dia0_utt2"].clip.suffix == ".MP4"
    assert by["train", "dia1_utt0"].clip is None and by["train", "dia3_utt0"].clip is None
    assert by["test", "dia0_utt1"].clip.name.startswith("final_videos_test")
    assert {u.dialogue for u in corpus.utterances if u.split == "valid"} == {"1039", "1149"}
    assert {u.dialogue for u in corpus.utterances if u.split == "test"} == {"1153"}
    needed = {f.item for f in corpus.findings if f.blocking and f.kind != "no dialogue"}
    assert needed == {"train dia1_utt0", "train dia3_utt0", "train_sent_emo.csv row 10"}
    assert any("final_videos_test" in note for note in corpus.notes)
    assert not check(root)["complete"]


def test_a_long_clip_for_a_short_line_is_text_only(tmp_path, media):
    root = tmp_path / "m"
    places = meld(
        root, {"train": [row(0, 0, length=0.5), row(0, 1, length=3.0)], "dev": [], "test": []}
    )
    with wave.open(str(places["train"] / "long.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(2 * 8000 * 300))
    (places["train"] / "long.wav").rename(places["train"] / "dia0_utt0.mp4")
    shutil.copy(media / "grid" / "bbaf2n.mpg", places["train"] / "dia0_utt1.mp4")
    corpus = read_meld_raw(root)
    assert kinds(corpus) == {"train dia0_utt0": "mis-cut clip"}
    assert [u.clip is None for u in corpus.utterances] == [True, False]
    assert kinds(read_meld_raw(root, probe=False)) == {}


def test_times_and_encodings(tmp_path):
    assert seconds("00:16:16,059") == pytest.approx(976.059)
    assert seconds("0:05:52,435") == pytest.approx(352.435)
    assert math.isnan(seconds("5 minutes")) and math.isnan(seconds(""))
    meld(
        tmp_path / "m",
        {"train": [row(0, 0, text="It’s “fine” … é")], "dev": [], "test": []},
        encoding="cp1252",
    )
    corpus = read_meld_raw(tmp_path / "m")
    assert (
        corpus.utterances[0].text == "It’s “fine” … é"
        and kinds(corpus)["train_sent_emo.csv"] == "other encoding"
    )


def test_a_complete_meld(tmp_path, shared):
    """Real transcripts of train and dev, and a clip for every line but the known ones."""
    root = tmp_path / "MELD.Raw"
    places = meld(
        root,
        {"train": [], "dev": [], "test": [row(d, u) for d in range(280) for u in range(2)]},
        "nested",
    )
    for part in ("train", "dev"):
        shutil.copy(
            shared / "data" / "meld" / f"{part}_sent_emo.csv", root / f"{part}_sent_emo.csv"
        )
    for part in FOLDERS:
        with open(root / f"{part}_sent_emo.csv", encoding="utf-8", newline="") as file:
            for line in csv.DictReader(file):
                key = (
                    "valid" if part == "dev" else part,
                    int(line["Dialogue_ID"]),
                    int(line["Utterance_ID"]),
                )
                if KNOWN.get(key, ("",))[0] != "no clip":
                    (places[part] / f"dia{key[1]}_utt{key[2]}.mp4").touch()
    result = check(root, probe=False)
    assert result["complete"] and [
        f["item"] for f in result["findings"] if f["kind"] == "no clip"
    ] == ["dev dia110_utt7"]
    assert result["counts"]["train"] == [1038, 9989] and result["counts"]["valid"] == [114, 1109]
    assert CliRunner().invoke(app, ["corpus", "check", str(root), "--no-probe"]).exit_code == 0
    (places["dev"] / "dia0_utt0.mp4").unlink()
    answer = CliRunner().invoke(app, ["corpus", "check", str(root), "--no-probe", "--json"])
    assert answer.exit_code == 1
    assert [f["item"] for f in json.loads(answer.stdout)["findings"] if f["needed"]] == [
        "dev dia0_utt0"
    ]


def iemocap(root, sizes, clip):
    """Build dialogues of sizes[name] six-class lines, one of another class, one without label."""
    for name, count in sizes.items():
        session = root / f"Session{name[4]}"
        for folder in (
            "dialog/transcriptions",
            "dialog/EmoEvaluation/Categorical",
            "dialog/avi/DivX",
            "dialog/wav",
            f"sentences/wav/{name}",
        ):
            (session / folder).mkdir(parents=True, exist_ok=True)
        lines, labels = [], ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
        for k in range(count + 2):
            turn = f"{name}_{'FM'[k % 2]}{k:03d}"
            code = (
                ("hap", "sad", "neu", "ang", "exc", "fru")[k % 6]
                if k < count
                else ("xxx", "sur")[k - count]
            )
            lines.append(f"{turn} [{k:03d}.0000-{k + 1:03d}.5000]: Line {k}.")
            labels += [
                f"[{k}.0000 - {k + 1}.5000]\t{turn}\t{code}\t[2.5000, 2.5000, 2.5000]",
                "C-E2:\tNeutral;\t()",
                "A-E3:\tval 3; act 2; dom  2;\t()",
                "",
            ]
            (session / f"sentences/wav/{name}/{turn}.wav").touch()
        lines.insert(1, "M: [000.5-000.9]: (breathing)")
        (session / f"dialog/transcriptions/{name}.txt").write_text("\n".join(lines), "utf-8")
        (session / f"dialog/transcriptions/._{name}.txt").write_bytes(b"\x00\x05\x16\x07")
        (session / f"dialog/EmoEvaluation/{name}.txt").write_text("\n".join(labels), "utf-8")
        (session / f"dialog/EmoEvaluation/Categorical/{name}_e1.txt").write_text("junk")
        (session / f"dialog/avi/DivX/{name}.AVI").symlink_to(clip)
        (session / f"dialog/wav/{name}.wav").touch()


def test_a_complete_iemocap(tmp_path, media):
    root = tmp_path / "IEMOCAP_full_release"
    iemocap(root, iemocap_utterances(), (media / "grid" / "bbaf2n.mpg").resolve())
    result = check(root, probe=False)
    assert result["complete"] and result["dataset"] == "iemocap"
    assert {f["kind"] for f in result["findings"]} == {"hidden copy", "other case"}
    assert result["counts"] == {"train": [108, 5163], "valid": [12, 647], "test": [31, 1623]}
    assert result["utterances"] == 7433 + 2 * 151
    assert any("0 dialogues differ" in note and "7380" in note for note in result["notes"])


def test_utterances_and_faults_of_iemocap(tmp_path, media):
    root = tmp_path / "release"
    names = ["Ses01F_impro01", "Ses01M_impro02", "Ses05F_impro01"]
    iemocap(root, dict.fromkeys(names, 6), (media / "grid" / "bbaf2n.mpg").resolve())
    session = root / "Session1"
    (session / "dialog/EmoEvaluation/Ses01M_impro02.txt").unlink()
    (session / "dialog/avi/DivX/Ses01M_impro02.AVI").unlink()
    broken = root / "Session5/dialog/avi/DivX/Ses05F_impro01.AVI"
    broken.unlink()
    broken.write_bytes(b"RIFF" + bytes(200))
    (session / "sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav").unlink()
    with open(session / "dialog/EmoEvaluation/Ses01F_impro01.txt", "a", encoding="utf-8") as file:
        file.write("\n[90.0000 - 91.0000]\tSes01F_impro01_F099\tneu\t[2.5, 2.5, 2.5]\n")
    corpus = read_iemocap_raw(root)
    first = [u for u in corpus.utterances if u.dialogue == "Ses01F_impro01"]
    assert [u.label for u in first] == [0, 1, 2, 3, 4, 5, -1, -1]
    assert [u.speaker for u in first[:2]] == ["F", "M"] and [u.side for u in first[:2]] == [
        "left",
        "right",
    ]
    assert (first[1].start, first[1].end, first[1].text) == (1.0, 2.5, "Line 1.")
    assert (
        first[0].sound.name == "Ses01F_impro01.wav"
        and first[1].sound.name == "Ses01F_impro01_M001.wav"
    )
    assert [u.side for u in read_iemocap_raw(root, left="other").utterances[:2]] == [
        "right",
        "left",
    ]
    missing = {f.item for f in corpus.findings if f.kind == "no dialogue"}
    everything = {
        d for split in ("train", "valid", "test") for d in expected_dialogues("iemocap", split)
    }
    assert missing == everything - set(names)
    assert sorted(
        (f.item, f.kind, f.blocking) for f in corpus.findings if f.kind != "no dialogue"
    ) == [
        ("._*", "hidden copy", False),
        ("Ses01F_impro01", "no sound", False),
        ("Ses01F_impro01", "short video", False),
        ("Ses01F_impro01_F099", "label without line", False),
        ("Ses01M_impro02", "no label", True),
        ("Ses01M_impro02", "no video", True),
        ("Ses05F_impro01", "broken clip", True),
        ("endings in capitals", "other case", False),
    ]
    assert {u.clip is None for u in corpus.utterances if u.dialogue != "Ses01F_impro01"} == {True}


def test_a_raw_release_without_features_says_how_to_make_them(tmp_path):
    meld(tmp_path, {"train": [row(0, 0)], "dev": [], "test": []})
    source = find_source("meld", tmp_path)
    assert (source.kind, source.name, source.path) == ("release", "meld", tmp_path)
    with pytest.raises(MercError, match=r"raw release of meld, without features; .*merc extract"):
        read_corpus(source)
    with pytest.raises(MercError, match=r"raw release of meld: use --dataset meld"):
        find_source("iemocap", tmp_path)


def test_a_release_is_found_whatever_else_the_folder_holds(tmp_path):
    meld(tmp_path, {"train": [row(0, 0)], "dev": [], "test": []})
    (tmp_path / "utterances.csv").touch()
    assert find_source("meld", tmp_path).kind == "table"
    assert find_release("meld", tmp_path).kind == "release"
    for dataset, folder, message in (
        ("friends", tmp_path, "choose from iemocap, meld"),
        ("iemocap", tmp_path, "use --dataset meld"),
        ("meld", tmp_path / "train_splits", "no raw release"),
        ("meld", tmp_path / "nowhere", "no such folder"),
    ):
        with pytest.raises(MercError, match=message):
            find_release(dataset, folder)


def test_other_folders_are_refused(tmp_path):
    assert recognise_release(tmp_path) is None
    for path in (tmp_path, tmp_path / "nowhere"):
        answer = CliRunner().invoke(app, ["corpus", "check", str(path)])
        assert answer.exit_code == 2 and Path(path).name in answer.stderr
