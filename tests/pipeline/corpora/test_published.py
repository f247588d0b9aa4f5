"""Published feature files: every layout reads back as written; faults name their dialogue."""

from __future__ import annotations

import json
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.published_files import FIELDS, content, parts, real_sizes, small_sizes, write
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.core.errors import MercError
from pipeline.corpora import find_source, read_corpus
from pipeline.corpora.how_to_get import how_to_get
from pipeline.corpora.published import read_published
from pipeline.corpora.splits import (
    COUNTS,
    LABELS,
    SPLITS,
    expected_dialogues,
    iemocap_utterances,
    official_split,
)
from pipeline.corpora.synthetic import make_synthetic
from pipeline.corpora.table import load_table, save_table
from pipeline.training.config import load_configuration
from pipeline.training.predictor import Predictor

REAL = {
    "mmgcn9": {"text": 100, "audio": 1582, "visual": 342},
    "sdt13": {"r1": 1024, "r2": 1, "r3": 1, "r4": 1, "audio": 300, "visual": 342},
}  # unread layers are kept small


def assert_holds(corpus, values, layout, text="r1"):
    """Check that the corpus is the content of the file, dialogue by dialogue."""
    name, sizes = FIELDS[layout][0], {v: len(rows) for v, rows in values["labels"].items()}
    assert corpus.labels == LABELS[name] and corpus.name == name
    splits = {split: [str(v) for v in ids] for split, ids in parts(name, sizes).items()}
    assert {split: [d.id for d in corpus.split(split)] for split in SPLITS} == splits
    fields = ("text",) if "text" in values else ("r1",)
    if "r1" in values and text == "mean":
        fields = ("r1", "r2", "r3", "r4")
    keys = {str(v): v for v in sizes}
    for d in corpus.dialogues:
        v = keys[d.id]
        assert d.labels.tolist() == values["labels"][v] and d.texts == values["sentences"][v]
        assert len(set(d.utterances)) == len(d.utterances)
        assert first_indices(d.speakers) == first_indices(values["speakers"][v])
        assert set(d.features) == set(corpus.widths)
        assert all(rows.dtype == np.float32 for rows in d.features.values())
        mean = np.mean([np.stack(values[field][v]).astype(np.float64) for field in fields], axis=0)
        np.testing.assert_allclose(d.features["text"], mean, atol=0 if len(fields) == 1 else 1e-6)
        for m in ("audio", "visual"):
            assert (m in d.features) == (m in values)
            if m in values:
                assert np.array_equal(d.features[m], np.stack(values[m][v]))


def first_indices(items):
    return [items.index(item) for item in items]


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("layout", FIELDS)
def test_every_layout_is_recognised_by_its_structure(tmp_path, layout, protocol):
    values = content(layout)
    path = write(values, tmp_path / "anything.bin", protocol)
    for text in ("r1", "mean"):
        corpus = read_published(path, text).corpus
        assert_holds(corpus, values, layout, text)
        fingerprint = corpus.fingerprints["text"]
        assert fingerprint["extractor"] == "published" and len(fingerprint["sha256"]) == 64
        assert fingerprint["field"] == (
            "text" if "text" in values else {"r1": "r1", "mean": "mean of r1..r4"}[text]
        )


@pytest.mark.parametrize("layout", REAL)
def test_real_size(tmp_path, layout):
    corpus = FIELDS[layout][0]
    values = content(layout, real_sizes(corpus), REAL[layout])
    published = read_published(write(values, tmp_path / "real.pkl"))
    assert_holds(published.corpus, values, layout)
    assert len(published.corpus.dialogues) == {"iemocap": 151, "meld": 1432}[corpus]
    assert sum("as in the literature" in note for note in published.notes) == 3
    assert not any("wide" in note for note in published.notes)


@pytest.mark.parametrize("layout", ["sdt12", "sdt13"])
def test_other_containers_hold_the_same(tmp_path, layout):
    """Lists, 2-D arrays, numpy integers and float64 read like lists of float32 arrays."""
    values = content(layout)
    plain = read_published(write(values, tmp_path / "a.pkl")).corpus
    values["r1"] = {v: [row.tolist() for row in rows] for v, rows in values["r1"].items()}
    values["audio"] = {v: np.stack(rows).astype(np.float64) for v, rows in values["audio"].items()}
    values["visual"] = {v: [row[None] for row in rows] for v, rows in values["visual"].items()}
    values["labels"] = {v: np.array(rows) for v, rows in values["labels"].items()}
    values["train"], values["ids"] = (
        tuple(values["train"]),
        {v: set(rows) for v, rows in values["ids"].items()},
    )
    other = read_published(write(values, tmp_path / "b.pkl")).corpus
    for expected, actual in zip(plain.dialogues, other.dialogues, strict=True):
        assert expected.labels.tolist() == actual.labels.tolist()
        assert all(
            np.array_equal(expected.features[m], actual.features[m]) for m in expected.features
        )


def damage(values, kind):
    """Damage one dialogue; return words that the message must contain."""
    v = next(iter(values["labels"]))
    if kind == "label above":
        values["labels"][v][0] = 7
        return str(v), "label 7"
    if kind == "label below":
        values["labels"][v][-1] = -1
        return str(v), "label -1"
    if kind == "label not a number":
        values["labels"][v][-1] = 1.5
        return str(v), "1.5"
    if kind == "NaN":
        values["visual"][v][1][0] = np.nan
        return str(v), "visual of utterance 2", "NaN"
    if kind == "infinite in float32":
        values["audio"][v] = [row.astype(np.float64) * 1e300 for row in values["audio"][v]]
        return str(v), "audio"
    if kind == "narrow":
        values["r1"][v][2] = values["r1"][v][2][:-1]
        return str(v), "r1 of utterance 3", "wide"
    if kind == "not a vector":
        values["audio"][v][0] = "loud"
        return str(v), "audio"
    if kind == "nested":
        values["audio"][v][0] = [[0.0]] * 6
        return str(v), "audio"
    if kind == "short field":
        values["sentences"][v] = values["sentences"][v][:-1]
        return str(v), "2 sentences for 3 labels"
    if kind == "short layer":
        values["r3"][v] = values["r3"][v][:-1]
        return str(v), "r3"
    if kind == "missing":
        del values["audio"][v]
        return str(v), "audio", "not complete"
    if kind == "missing everywhere":
        values["test"] = [*values["test"], "Ses05M_impro09"]
        return "Ses05M_impro09", "labels"
    if kind == "shared":
        values["test"] = [*values["test"], v]
        return str(v), "train", "test"
    if kind == "twice":
        values["train"] = [*values["train"], v]
        return str(v), "twice"
    if kind == "empty test":
        values["test"] = []
        return ("test split is empty",)
    if kind == "empty train":
        values["train"] = set()
        return ("train split is empty",)
    for field in (
        "labels",
        "sentences",
        "speakers",
        "ids",
        "r1",
        "r2",
        "r3",
        "r4",
        "audio",
        "visual",
    ):
        values[field][v] = []
    return str(v), "no utterances"


@pytest.mark.parametrize(
    "kind",
    [
        "label above",
        "label below",
        "label not a number",
        "NaN",
        "infinite in float32",
        "narrow",
        "not a vector",
        "nested",
        "short field",
        "short layer",
        "missing",
        "missing everywhere",
        "shared",
        "twice",
        "empty test",
        "empty train",
        "no utterance",
    ],
)
@pytest.mark.parametrize("layout", ["sdt12", "sdt13"])
def test_faults_name_the_file_and_the_dialogue(tmp_path, layout, kind):
    values = content(layout)
    words = damage(values, kind)
    with pytest.raises(ValueError, match=r"faulty\.pkl") as refused:
        read_published(write(values, tmp_path / "faulty.pkl"))
    assert all(word in str(refused.value) for word in words), refused.value


def test_other_structures_are_refused(tmp_path):
    for value, message in (({"a": 1, "b": 2}, "7 fields"), ({}, "0 fields")):
        values = dict.fromkeys(range(7), 1) if value else value
        with pytest.raises(ValueError, match=message):
            read_published(write(values, tmp_path / "x.pkl"))
    values = content("sdt12")
    values["labels"] = {v: [f"{x}" for x in rows] for v, rows in values["labels"].items()}
    with pytest.raises(ValueError, match=r"field 3 \(labels\) is text"):
        read_published(write(values, tmp_path / "x.pkl"))


def test_one_vector_repeated_many_times_is_refused(tmp_path):
    """Expanding a small file of references would take gigabytes."""
    values = content("mmgcn9")
    vector, n = np.zeros(10_000, np.float32), 30_000
    for field, item in (
        ("text", vector),
        ("audio", vector),
        ("visual", vector),
        ("labels", 1),
        ("sentences", "so"),
        ("speakers", "M"),
        ("ids", "x"),
    ):
        values[field] = dict.fromkeys(values[field], [item] * n)
    with pytest.raises(ValueError, match="feature values"):
        read_published(write(values, tmp_path / "x.pkl"))


def test_meld_dialogue_60_may_be_listed(tmp_path):
    values = content("sdt13")
    values["train"] = [*values["train"], 60]
    assert "60" not in [
        d.id for d in read_published(write(values, tmp_path / "x.pkl")).corpus.dialogues
    ]


def test_speakers_more_than_any_training_dialogue_and_single_utterances(tmp_path):
    values = content("sdt13")
    values["speakers"][1200] = [np.eye(9)[8].tolist(), np.eye(9)[0]]
    corpus = read_published(write(values, tmp_path / "x.pkl")).corpus
    assert corpus.split("test")[0].speakers == ["0", "1"]
    assert [len(d.labels) for d in corpus.dialogues if d.id == "7"] == [1]


def test_unusual_widths_are_noted(tmp_path):
    assert any(
        "text is 5 wide" in note
        for note in read_published(write(content("sdt12"), tmp_path / "x.pkl")).notes
    )


def test_a_run_on_published_features_cannot_label_videos(tmp_path):
    prints = read_published(write(content("sdt12"), tmp_path / "x.pkl")).corpus.fingerprints
    run = SimpleNamespace(fingerprints=prints, name="run", profile="roberta")
    Predictor.check(run, prints, known=False)
    with pytest.raises(
        ValueError, match=r"run was trained on published text, audio, visual features"
    ):
        Predictor.check(run, prints)


def run_import(file, table, *options):
    arguments = ["import", str(file), "--out", str(table), "--json", *options]
    return CliRunner().invoke(app, arguments)


def test_import_writes_a_table_that_reads_back_equal(tmp_path):
    values = content("cosmic11")
    file, table = write(values, tmp_path / "x.pkl"), tmp_path / "table"
    result = json.loads(run_import(file, table, "--text", "mean").stdout)
    assert result["widths"] == {"text": 5} and result["layout"] == "cosmic"
    corpus = load_table(table)
    assert_holds(corpus, values, "cosmic11", "mean")
    assert corpus.fingerprints == read_published(file, "mean").corpus.fingerprints
    answer = run_import(file, table)
    assert answer.exit_code == 2 and "--overwrite" in answer.stderr
    before = (table / "text.npy").read_bytes()
    values["labels"][0][0] = 99
    answer = run_import(write(values, file), table, "--overwrite")
    assert answer.exit_code == 2 and "dialogue 0" in answer.stderr
    assert (table / "text.npy").read_bytes() == before


def load_corpus(name, data=None):
    return read_corpus(find_source(name, data))


def test_corpora_are_found_by_the_content_of_files(tmp_path, monkeypatch):
    monkeypatch.delenv("MERC_DATA", raising=False)
    write(content("sdt12"), tmp_path / "b.pkl")
    write(content("sdt13"), tmp_path / "deep.pickle")
    (tmp_path / "._b.pkl").write_bytes(b"macOS")
    (tmp_path / "broken.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    corpus = load_corpus("iemocap", tmp_path)
    assert corpus.name == corpus.settings == "iemocap"
    assert load_corpus("meld", tmp_path / "deep.pickle").name == "meld"
    monkeypatch.setenv("MERC_DATA", str(tmp_path))
    assert load_corpus("meld").name == "meld"
    with pytest.raises(MercError, match="--dataset iemocap"):
        load_corpus("meld", tmp_path / "b.pkl")
    write(content("mmgcn9"), tmp_path / "c.pkl")
    with pytest.raises(MercError, match=r"2 feature files.*b\.pkl.*c\.pkl"):
        load_corpus("iemocap")
    save_table(read_published(tmp_path / "b.pkl").corpus, tmp_path / "iemocap")
    corpus = load_corpus("iemocap", tmp_path)
    assert corpus.widths["text"] == 5 and corpus.settings == "iemocap"
    with pytest.raises(MercError, match=r"labels are happy.*not meld's"):
        load_corpus("meld", tmp_path / "iemocap")


def test_a_table_wins_over_a_corpus_of_the_same_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MERC_DATA", raising=False)
    (tmp_path / "meld").mkdir()
    with pytest.raises(MercError, match="no data for meld"):
        find_source("meld")
    save_table(make_synthetic(2, 1, 1, 4), tmp_path / "meld")
    source = find_source("meld")
    assert (source.kind, source.name, source.path) == ("table", "meld", Path("meld"))
    corpus = read_corpus(source)
    assert corpus.labels == make_synthetic(1, 1, 1).labels
    config = load_configuration(corpus.settings)
    assert config == load_configuration("table") != load_configuration("meld")
    # --data names the corpus: its labels are not those of this table
    with pytest.raises(MercError, match="not meld's"):
        load_corpus("meld", Path("meld"))
    with pytest.raises(MercError, match="omit --data"):
        find_source("./meld", Path("meld"))


@pytest.mark.parametrize("corpus", ["iemocap", "meld"])
def test_missing_data_is_an_error_that_says_where_to_get_it(tmp_path, monkeypatch, corpus):
    monkeypatch.delenv("MERC_DATA", raising=False)
    for data in (None, tmp_path, tmp_path / "nowhere"):
        with pytest.raises(MercError) as missing:
            find_source(corpus, data)
        assert missing.value.remedy.startswith(how_to_get(corpus))
    for word in (
        f"{corpus}_multimodal_features.pkl",
        "butterfliesss/SDT",
        "release itself",
        "Terms:",
        "--data",
        "MERC_DATA",
    ):
        assert word in how_to_get(corpus)


def test_splits_are_those_of_the_literature():
    sizes = iemocap_utterances()
    for corpus in ("iemocap", "meld"):
        members = [set(expected_dialogues(corpus, split)) for split in SPLITS]
        assert [len(part) for part in members] == [COUNTS[corpus][split][0] for split in SPLITS]
        assert sum(map(len, members)) == len(set.union(*members))
    for split in SPLITS:
        assert (
            sum(sizes[v] for v in expected_dialogues("iemocap", split))
            == COUNTS["iemocap"][split][1]
        )
    assert [
        official_split("meld", k)
        for k in ("0", "1038", "1039", "1152", "1153", "1432", "1433", "x")
    ] == ["train", "train", "valid", "valid", "test", "test", None, None]


def test_damaged_content_never_ends_in_another_error(tmp_path):
    """Replacing any field by any value gives a MercError with the file's name, or a corpus."""
    rng = random.Random(0)
    junk = [
        None,
        3,
        "x",
        [],
        {},
        set(),
        [1],
        {0: 1},
        {0: [None]},
        {"Ses01F_impro01": [[1.0]]},
        np.zeros(2),
        np.zeros((2, 2)),
        {0: np.zeros((3, 1, 1))},
        {0: {1}},
        {0: "abc"},
        [None],
        {0: [b"a", 1, []]},
    ]
    for _ in range(300):
        layout = rng.choice(list(FIELDS))
        values = content(layout)
        name = rng.choice(list(values))
        if isinstance(values[name], dict) and rng.random() < 0.6:
            values[name][rng.choice(list(small_sizes(FIELDS[layout][0])))] = rng.choice(junk)
        else:
            values[name] = rng.choice(junk)
        try:
            read_published(write(values, tmp_path / "junk.pkl"))
        except MercError as error:
            assert "junk.pkl" in str(error)
