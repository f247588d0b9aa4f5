"""Annotated recordings become a corpus, and nothing is dropped without a word."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clips import tone, write_wav

from pipeline import annotated_corpus
from pipeline.annotated_corpus import corpus_from_annotations, split_recordings
from pipeline.core.errors import MercError, UsageError
from pipeline.corpora.table import load_table, save_table
from pipeline.segmentation.annotated_recordings import find_annotated

RATE = 16000
HEADER = "start,end,speaker,text,emotion\n"
ROWS = "0.2,1.0,Ann,hello there,calm\n1.0,1.8,Ben,not now,tense\n"


class Loudness:
    """An extractor of one number, so that the tests need no weights."""

    dim = 2
    fingerprint: ClassVar[dict] = {
        "extractor": "loudness",
        "version": "1",
        "weights": None,
        "options": {},
    }

    def extract(self, sound: np.ndarray, rate: int) -> np.ndarray:
        return np.array([np.abs(sound).mean(), len(sound)], np.float32)

    def quality(self, sound: np.ndarray, rate: int, row: np.ndarray) -> dict:
        return {}


@pytest.fixture(autouse=True)
def light_extractors(monkeypatch: pytest.MonkeyPatch) -> None:
    work = annotated_corpus._Work
    monkeypatch.setattr(work, "extractors", {"audio": Loudness()}, raising=False)
    monkeypatch.setattr(annotated_corpus.Predictor, "check", lambda self, made: None)


def record(folder: Path, name: str, seconds: float = 2.0, hertz: float = 440.0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return write_wav(folder / name, [tone(seconds, RATE, hertz)], RATE)


def result(rows: list[dict], **fields: object) -> str:
    utterances = [{"speaker": "Ann", "text": "x", "emotion": "calm"} | row for row in rows]
    return json.dumps({"media": "", "utterances": utterances} | fields)


def texts(warnings: list) -> str:
    return "\n".join(map(str, warnings))


def make(folder: Path, count: int = 4) -> Path:
    for k in range(count):
        record(folder, f"talk{k}.wav", hertz=300 + 50 * k)
        (folder / f"talk{k}.csv").write_text(HEADER + ROWS)
    return folder


def test_a_folder_becomes_a_table(tmp_path: Path) -> None:
    made = corpus_from_annotations(make(tmp_path / "talks", 10), store=tmp_path / "store")
    corpus = made.corpus
    assert corpus.labels == ("calm", "tense") and not made.failures and not made.warnings
    assert {d.split for d in corpus.dialogues} == {"train", "valid", "test"}
    first = corpus.dialogues[0]
    assert first.id == "talk0" and first.speakers == ["Ann", "Ben"]
    assert [corpus.labels[k] for k in first.labels] == ["calm", "tense"]
    assert first.features["audio"][:, 1].tolist() == [0.8 * RATE, 0.8 * RATE]
    save_table(corpus, tmp_path / "table")
    again = load_table(tmp_path / "table")
    assert again.fingerprints == {"audio": Loudness.fingerprint}
    assert [d.split for d in again.dialogues] == [d.split for d in corpus.dialogues]


@settings(deadline=None)
@given(st.lists(st.binary(min_size=32, max_size=32), min_size=4, max_size=40, unique=True))
def test_a_recording_stays_in_its_split_when_others_are_added(digests: list[bytes]) -> None:
    names = [digest.hex() for digest in digests]
    before, after = split_recordings(names[:-1]), split_recordings(names)
    assert set(before) == set(after) == {"train", "valid", "test"}
    assert after == split_recordings(names[::-1])[::-1]
    for_training = sum(int(name[:8], 16) >= 0.3 * 16**8 for name in names[:-1])
    if for_training >= 2:  # else one that belongs to test is lent to train
        moved = {pair for pair in zip(before, after, strict=False) if pair[0] != pair[1]}
        assert moved <= {("test", "valid"), ("test", "train"), ("valid", "train")}


def test_splits_have_their_shares() -> None:
    names = [hashlib.sha256(bytes([k % 256, k // 256])).hexdigest() for k in range(2000)]
    counts = Counter(split_recordings(names))
    assert abs(counts["test"] - 300) < 60 and abs(counts["valid"] - 300) < 60


def test_a_corrected_label_needs_no_new_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, store = make(tmp_path / "talks"), tmp_path / "store"
    corpus_from_annotations(folder, store=store)
    (folder / "talk0.csv").write_text(HEADER + ROWS.replace("tense", "angry"))
    monkeypatch.setattr(Loudness, "extract", None)
    assert corpus_from_annotations(folder, store=store).corpus.labels == ("angry", "calm", "tense")


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    folder = make(tmp_path / "talks")
    record(folder, "plain.wav")
    record(folder, "words.wav")
    (folder / "words.srt").write_text("1\n00:00:00,100 --> 00:00:01,000\nHello\n")
    (folder / "gone.csv").write_text(HEADER + ROWS)
    (folder / "notes.txt").write_text("buy milk")
    (folder / "failures.csv").write_text("input,stage,reason,remedy\n")
    record(folder, "silent.wav", hertz=190)
    (folder / "silent.csv").write_text(HEADER)
    (folder / "silent.merc.srt").touch()
    write_wav(folder / "copy.wav", [tone(2.0, RATE, 300)], RATE)  # of talk0
    (folder / "copy.csv").write_text(HEADER + ROWS)
    record(folder, "other.wav", hertz=200)
    (folder / "other.csv").write_text(HEADER + "0,1,Ann,hi,calm\n30,31,Ben,far,tense\n")
    record(folder, "backward.wav", hertz=210)
    (folder / "backward.json").write_text(result([{"start": 1.5, "end": 0.5}]))
    record(folder, "odd.wav", hertz=220)
    rows = [
        {"start": 0.1, "end": 0.9},
        {"start": 0.5, "end": 1.2},
        {"start": 1.3, "end": 1.3},
        {"start": 1.4, "end": 2.5, "emotion": ""},
        {"start": 1.5, "end": 2.0, "uncertain": True},
    ]
    (folder / "odd.json").write_text(result(rows))
    made = corpus_from_annotations(folder, store=tmp_path / "store")
    said = texts(made.warnings)
    for expected in (
        "plain.wav: no annotation",
        "words.srt: not used: no emotions",
        "silent.csv: not used: it has no utterances",
        "silent.merc.srt: not used: the file is empty",
        "gone.csv: no recording",
        "notes.txt: not",
        "the same recording as",
        "odd.json: 1 utterance empty and left out, at 1.3 s",
        "odd.json: 2 utterances overlapping another of the same speaker",
        "odd.json: 1 utterance without a label, context only",
        "odd.json: 1 utterance uncertain, context only",
    ):
        assert expected in said, said
    assert "words.wav: no annotation" not in said  # words.srt is named
    assert "backward.wav: no annotation" not in said
    assert "failures.csv" not in said
    reasons = texts(made.failures)
    reason = "or has a wrong time (its utterance at 30.0 s ends at 31.0 s; other.wav has 2.0 s)"
    assert f"annotates another recording, {reason}" in reasons
    assert "before it starts" in reasons and len(made.failures) == 2
    assert {d.id for d in made.corpus.dialogues} >= {"odd", "talk1"}
    odd = next(d for d in made.corpus.dialogues if d.id == "odd")
    assert odd.labels.tolist() == [0, 0, -1, -1] and odd.times[2].tolist() == [1.4, 2.0]


def test_results_of_merc_are_used_once_corrected(tmp_path: Path) -> None:
    folder = make(tmp_path / "talks", 3)
    of_merc = {"model": "merc-offline@1", "media": "talk0.wav", "labels": ["calm", "joy"]}
    path = folder / "talk0.merc.json"
    (folder / "talk0.csv").unlink()
    path.write_text(result([{"start": 0.0, "end": 1.0}], **of_merc))
    found = find_annotated(folder)
    assert len(found.annotated) == 2 and "nobody has corrected" in texts(found.warnings)
    assert len(find_annotated(folder, unedited=True).annotated) == 3
    # a format that people correct in place, without and with a correction
    row = "0.0,1.0,Ann,x,{}\n"
    (folder / "talk0.merc.csv").write_text(HEADER + row.format("calm"))
    assert len(find_annotated(folder).annotated) == 2
    (folder / "talk0.merc.csv").write_text(HEADER + row.format("tense"))
    assert find_annotated(folder).annotated[0].path.name == "talk0.merc.csv"
    path.write_text(result([{"start": 0.0, "end": 1.0}], edited=True, **of_merc))
    assert find_annotated(folder).annotated[0].path == path


def test_a_recording_of_another_length_is_refused_unless_its_bytes_agree(tmp_path: Path) -> None:
    folder = make(tmp_path / "talks", 3)
    (folder / "talk0.csv").unlink()
    rows = [{"start": 0.0, "end": 1.0}]
    (folder / "talk0.json").write_text(result(rows, duration=95.0, sha256="0" * 64))
    made = corpus_from_annotations(folder, store=tmp_path / "store")
    assert "of a recording of 95.0 s" in texts(made.failures)
    (folder / "talk0.json").write_text(result(rows, duration=2.0, sha256="0" * 64))
    assert not corpus_from_annotations(folder, store=tmp_path / "store").failures


def test_label_sets_that_differ_are_reported(tmp_path: Path) -> None:
    folder = make(tmp_path / "talks", 3)
    (folder / "talk0.csv").write_text(HEADER + ROWS + "0.5,0.9,Cat,hm,bored\n")
    made = corpus_from_annotations(folder, store=tmp_path / "store")
    assert "'bored' occurs in talk0 only" in texts(made.warnings)
    names = ["tense", "calm", "sad"]
    made = corpus_from_annotations(folder, store=tmp_path / "store", labels=names)
    assert made.corpus.labels == tuple(names)
    said = texts(made.warnings)
    assert "1 utterance with labels that --labels lacks, context only: bored" in said
    assert "'sad' occurs nowhere" in said


def test_nothing_usable_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        corpus_from_annotations(tmp_path / "none")
    record(tmp_path / "talks", "talk.wav")
    with pytest.raises(MercError, match="no annotated recording"):
        corpus_from_annotations(tmp_path / "talks", store=tmp_path / "store")
