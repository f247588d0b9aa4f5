"""The table dataset: a table reads back as written, and errors name the dialogue."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.core.errors import MercError
from pipeline.core.files import write_text
from pipeline.corpora import find_source, read_corpus
from pipeline.corpora.synthetic import make_synthetic
from pipeline.corpora.table import check_replaceable, load_table, save_table


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_table(make_synthetic(3, 1, 1, 4), tmp_path / "table")
    return tmp_path / "table"


def test_a_table_reads_back_as_written(tmp_path: Path) -> None:
    corpus = make_synthetic(3, 1, 2, 4)
    first = corpus.dialogues[0]
    first.features["audio"][1] = np.nan
    n = len(first.utterances)
    odd = replace(
        first,
        id="NA",
        texts=['He said: "no",\nthen left', "null", *["ß"] * (n - 2)],
        labels=np.where(np.arange(n) == 0, -1, first.labels),
        times=np.arange(2.0 * n).reshape(n, 2) / 3,
    )
    bare = replace(corpus.dialogues[1], features={"text": corpus.dialogues[1].features["text"]})
    corpus = replace(
        corpus, dialogues=[odd, bare, *corpus.dialogues[2:]], notes=["Two lines had no clip."]
    )
    save_table(corpus, tmp_path)
    again = load_table(tmp_path)
    assert (again.name, again.labels, again.widths) == (corpus.name, corpus.labels, corpus.widths)
    assert (again.fingerprints, again.notes) == (corpus.fingerprints, corpus.notes)
    for a, b in zip(corpus.dialogues, again.dialogues, strict=True):
        assert (a.id, a.split, a.utterances, a.speakers, a.texts) == (
            b.id,
            b.split,
            b.utterances,
            b.speakers,
            b.texts,
        )
        assert np.array_equal(a.labels, b.labels)
        for modality, rows in b.features.items():
            assert np.array_equal(
                a.features.get(modality, np.full_like(rows, np.nan)), rows, equal_nan=True
            )
    assert np.array_equal(odd.times, again.dialogues[0].times)


def test_writing_twice_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    save_table(load_table(folder), tmp_path / "again")
    for file in folder.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes(), file.name


def test_labels_without_an_order_are_alphabetical(folder: Path) -> None:
    (folder / "table.json").unlink()
    (folder / "fingerprints.json").unlink()
    corpus = load_table(folder)
    assert corpus.labels == tuple(sorted(corpus.labels)) and corpus.fingerprints is None


def change(folder: Path, modality: str, edit) -> None:
    matrix = np.load(folder / f"{modality}.npy")
    np.save(folder / f"{modality}.npy", edit(matrix), allow_pickle=True)


def cell(folder: Path, row: int, column: str, value: str) -> None:
    table = pd.read_csv(folder / "utterances.csv", dtype=str, keep_default_na=False)
    table.loc[row, column] = value
    table.to_csv(folder / "utterances.csv", index=False)


def put(matrix: np.ndarray, row: int, value: float) -> np.ndarray:
    matrix[row, 0] = value
    return matrix


FAULTS = {
    "infinite": (
        lambda f: change(f, "text", lambda m: put(m, 0, np.inf)),
        "text.npy.*train000.*infinite",
    ),
    "too large for float32": (
        lambda f: change(f, "text", lambda m: put(m.astype(float), 0, 1e300)),
        "infinite",
    ),
    "partly NaN": (
        lambda f: change(f, "audio", lambda m: put(m, 0, np.nan)),
        "audio.npy.*train000.*NaN",
    ),
    "too few rows": (lambda f: change(f, "visual", lambda m: m[1:]), "visual.npy.*rows for"),
    "flat": (lambda f: change(f, "visual", lambda m: m[:, 0]), "shape"),
    "objects": (
        lambda f: change(f, "text", lambda m: m.astype(object)),
        "text.npy: not a plain array",
    ),
    "texts": (lambda f: change(f, "text", lambda m: m.astype("U8")), "numbers"),
    "not npy": (lambda f: (f / "text.npy").write_bytes(b"hello"), "text.npy: not a plain array"),
    "truncated": (
        lambda f: (f / "text.npy").write_bytes((f / "text.npy").read_bytes()[:200]),
        "text.npy",
    ),
    "empty csv": (lambda f: (f / "utterances.csv").write_text(""), "not a CSV"),
    "header only": (
        lambda f: (f / "utterances.csv").write_text(
            "dialogue,utterance,speaker,text,label,split\n"
        ),
        "no utterances",
    ),
    "no label column": (
        lambda f: (f / "utterances.csv").write_text("dialogue,utterance\na,b\n"),
        "no column",
    ),
    "not utf-8": (
        lambda f: (f / "utterances.csv").write_bytes(b"dialogue,\xff\xfe\n1,2\n"),
        "UTF-8",
    ),
    "unknown split": (lambda f: cell(f, 0, "split", "holdout"), "train000.*holdout"),
    "two splits": (lambda f: cell(f, 0, "split", "test"), "train000 is in test and train"),
    "same utterance twice": (lambda f: cell(f, 1, "utterance", "0"), "train000.*'0' twice"),
    "no dialogue": (lambda f: cell(f, 1, "dialogue", " "), "line 3 names no dialogue"),
    "unlisted label": (lambda f: cell(f, 0, "label", "bored"), "bored.*train000"),
    "fingerprints of others": (
        lambda f: (f / "fingerprints.json").write_text('{"text": {}}'),
        "describes text",
    ),
    "fingerprints not JSON": (lambda f: (f / "fingerprints.json").write_text("{"), "not JSON"),
    "no features": (
        lambda f: [(f / f"{m}.npy").unlink() for m in ("text", "audio", "visual")],
        "no features",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_an_error_that_names_it(fault: str, folder: Path) -> None:
    damage, message = FAULTS[fault]
    damage(folder)
    with pytest.raises(MercError, match=f"(?s){message}"):
        load_table(folder)


def test_an_unknown_corpus_suggests_the_closest_name() -> None:
    with pytest.raises(MercError, match="did you mean iemocap"):
        find_source("iemocapp")


def test_mosi_reads_as_described(shared: Path) -> None:
    corpus = read_corpus(find_source(str(shared / "data" / "mosi")))
    assert (
        corpus.widths == {"text": 100, "audio": 73, "visual": 100} and len(corpus.dialogues) == 62
    )
    table = pd.read_csv(shared / "data" / "mosi" / "utterances.csv", dtype=str)
    text = np.load(shared / "data" / "mosi" / "text.npy")
    for d in corpus.dialogues[::20]:
        rows = np.flatnonzero(table["dialogue"] == d.id)
        assert np.array_equal(d.features["text"], text[rows])
        assert [corpus.labels[k] for k in d.labels] == list(table["label"][rows])
    assert json.dumps(corpus.labels) == '["negative", "positive"]'


@pytest.mark.parametrize("notes", ["one sentence", [1], {"a": "b"}])
def test_notes_that_are_not_sentences_are_refused(folder: Path, notes) -> None:
    (folder / "table.json").write_text(json.dumps({"notes": notes}))
    with pytest.raises(ValueError, match=r"table\.json: notes"):
        load_table(folder)


def test_files_of_an_earlier_table_do_not_remain(folder: Path) -> None:
    corpus = replace(load_table(folder), fingerprints=None)
    text = [replace(d, features={"text": d.features["text"]}) for d in corpus.dialogues]
    save_table(replace(corpus, dialogues=text, widths={"text": 32}), folder)
    assert {file.name for file in folder.iterdir()} == {"text.npy", "table.json", "utterances.csv"}
    assert load_table(folder).widths == {"text": 32}


def test_a_table_of_another_corpus_is_not_replaced(folder: Path, tmp_path: Path) -> None:
    check_replaceable(folder, "synthetic")
    check_replaceable(tmp_path / "new", "meld")
    with pytest.raises(MercError, match="another table"):
        check_replaceable(folder, "meld")
    (folder / "table.json").unlink()
    with pytest.raises(MercError, match="another table"):
        check_replaceable(folder, "synthetic")


def test_a_table_that_a_person_changed_is_not_replaced(folder: Path) -> None:
    corpus = load_table(folder)
    table = (folder / "utterances.csv").read_bytes()
    cell(folder, 0, "split", "test")
    with pytest.raises(MercError, match="was changed after merc wrote it"):
        check_replaceable(folder, "synthetic")
    (folder / "utterances.csv").unlink()
    check_replaceable(folder, "synthetic")
    save_table(corpus, folder)
    assert (folder / "utterances.csv").read_bytes() == table


@pytest.mark.parametrize("last", ["table.json", "utterances.csv"])
def test_a_table_whose_writing_was_killed_is_not_taken_for_changed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    corpus = load_table(folder)
    fewer = replace(corpus, dialogues=corpus.dialogues[1:])

    def write_and_die(path: Path, text: str) -> None:
        write_text(path, text)
        if path.name == last:
            raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr("pipeline.corpora.table.write_text", write_and_die)
        with pytest.raises(KeyboardInterrupt):
            save_table(fewer, folder)
    check_replaceable(folder, "synthetic")
    save_table(fewer, folder)
    check_replaceable(folder, "synthetic")
    assert len(json.loads((folder / "table.json").read_text())["written"]) == 1


def test_a_dialogue_in_two_splits_is_named(folder: Path) -> None:
    corpus = load_table(folder)
    assert not corpus.notes
    first = next(d for d in corpus.dialogues if d.split == "train")
    copy = replace(first, id="copy", split="test")
    save_table(replace(corpus, dialogues=[*corpus.dialogues, copy]), folder)
    (note,) = load_table(folder).notes
    assert f"{first.id} (train), copy (test)" in note


def test_labels_that_differ_in_case_only_are_named(shared: Path, tmp_path: Path) -> None:
    corpus = load_table(shared / "cases" / "caps")
    (note,) = [note for note in corpus.notes if "differ only in case" in note]
    assert "'Joy' and 'joy'" in note and "'Sad' and 'sad'" in note
    save_table(corpus, tmp_path / "copy")
    assert load_table(tmp_path / "copy").notes == corpus.notes
    assert not any("case" in note for note in load_table(shared / "data" / "mosi").notes)
