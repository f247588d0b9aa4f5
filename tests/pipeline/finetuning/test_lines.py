"""The utterances of releases and tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.releases import build_iemocap
from support.tables import write_table

from pipeline.core.errors import MercError
from pipeline.corpora import find_source
from pipeline.corpora.splits import expected_dialogues
from pipeline.finetuning.lines import load_lines

ROWS = [
    ("a", "1", "x", "Hi.", "joy", "train"),
    ("a", "2", "x", "No!", "anger", "train"),
    ("b", "1", "x", "Hi.", "joy", "valid"),
]


def test_words_of_raw_releases(shared: Path, tmp_path: Path) -> None:
    meld = load_lines(find_source("meld", shared / "data" / "meld"))
    assert meld.name == meld.settings == "meld"
    sizes = {split: len(part) for split, part in meld.parts.items()}
    assert sizes == {"train": 9989, "valid": 1109, "test": 0}
    assert meld.parts["valid"][0].dialogue == "1039"
    assert any("test_sent_emo.csv" in note for note in meld.notes)
    with pytest.raises(MercError, match="use --dataset meld"):
        load_lines(find_source("iemocap", shared / "data" / "meld"))
    train, valid = (expected_dialogues("iemocap", split)[0] for split in ("train", "valid"))
    build_iemocap(tmp_path / "release", shared, [train, valid], seconds=1.0)
    iemocap = load_lines(find_source("iemocap", tmp_path / "release"))
    assert {line.dialogue for line in iemocap.parts["train"]} == {train}
    assert {line.dialogue for line in iemocap.parts["valid"]} == {valid}
    assert not iemocap.parts["test"]
    for line in iemocap.parts["train"]:
        assert line.text and line.utterance.startswith(line.dialogue)


def test_lines_without_words_are_counted(tmp_path: Path) -> None:
    rows = [*ROWS, ("b", "2", "x", " ", "joy", "valid"), ("b", "3", "x", "’", "joy", "valid")]
    lines = load_lines(find_source(str(write_table(tmp_path / "table", rows))))
    assert lines.notes == ["1 lines without words are left out"]
    ascii_only = lines.with_words(lambda text: text.encode("ascii", "ignore").decode())
    assert ascii_only.notes == ["2 lines without words are left out"]
    assert ascii_only.texts("valid") == ["Hi."]


def test_bad_input_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MERC_DATA", raising=False)
    for name, rows, match in (
        ("novalid", ROWS[:2], "no labelled line with words in the valid part"),
        ("one", [ROWS[0], ROWS[2]], "every line of the train part is 'joy'"),
        ("notrain", ROWS[2:], "no labelled line with words in the train part"),
        ("wordless", [(*row[:3], " ", *row[4:]) for row in ROWS], "3 lines without words"),
    ):
        with pytest.raises(MercError, match=match):
            load_lines(find_source(str(write_table(tmp_path / name, rows))))
    (tmp_path / "one" / "table.json").write_text('{"labels": ["anger"]}')
    with pytest.raises(ValueError, match=r"'joy'.*not among the labels"):
        load_lines(find_source(str(tmp_path / "one")))
    table = write_table(tmp_path / "other", ROWS)
    with pytest.raises(MercError, match="its labels are anger, joy, not meld's"):
        load_lines(find_source("meld", table))
    with pytest.raises(MercError, match="no corpus of that name, and no such folder"):
        load_lines(find_source("nowhere"))
    with pytest.raises(MercError, match="no data for meld"):
        load_lines(find_source("meld"))
    with pytest.raises(MercError, match="no such file or folder"):
        load_lines(find_source("meld", tmp_path / "gone"))
    with pytest.raises(MercError, match="this corpus has no text"):
        load_lines(find_source("synthetic"))
