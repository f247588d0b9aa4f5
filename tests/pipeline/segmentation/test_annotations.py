"""Labelled dialogues are read back from every format, as written and as corrected."""

from __future__ import annotations

import json
from pathlib import Path

import pandas
import pytest
from hypothesis import HealthCheck, example, given, settings
from pympi import Eaf
from support.results import result, results

from pipeline.core.errors import MercError
from pipeline.exports import FORMATS
from pipeline.exports.rows import confidence_of, label_of, line
from pipeline.segmentation.annotations import find_recording, read_annotation, stem_of

UTTERANCES = [
    (0.5, 2.0, "Ann", "Hello: [you]"),
    (1.5, 3.25, "Ben", 'He said "no" --> <b>left</b>'),
    (1.5, 3.25, "", "both at once"),
    (2.5, 4.0, "Ben", ""),
]
READABLE = [name for name in FORMATS if name != "rttm"]  # it has no emotions


def write(folder: Path, name: str, content: dict) -> Path:
    path = folder / f"talk.merc.{FORMATS[name].extension}"
    path.write_bytes(FORMATS[name].write(content))
    return path


def essence(content: dict) -> list[tuple]:
    return sorted(
        (
            round(1000 * u["start"]),
            round(1000 * u["end"]),
            line(u["speaker"]),
            line(u["text"]),
            line(u["emotion"]),
        )
        for u in content["utterances"]
    )


@pytest.mark.parametrize("name", READABLE)
def test_every_format_gives_the_emotions_back(tmp_path, name):
    content = result(UTTERANCES)
    annotation = read_annotation(write(tmp_path, name, content))
    assert essence(annotation) == essence(content)
    assert set(annotation["labels"]) >= {"neutral", "joy", "anger"}
    assert not annotation["warnings"]
    # what was read is written again with the same result, in all formats
    for other in READABLE:
        assert essence(read_annotation(write(tmp_path, other, annotation))) == essence(content)


@pytest.mark.parametrize("name", READABLE)
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(results())
@example(result([(0.0, 1.0, "--> [joy]:", ""), (1.0, 2.0, "a [b] [joy]", "[c]: d")]))
def test_any_result_gives_its_emotions_back(tmp_path, name, content):
    path = write(tmp_path, name, content)
    wanted = sorted(row[4] for row in essence(content))
    assert sorted(row[4] for row in essence(read_annotation(path))) == wanted


TABLES = ["csv", "parquet", "jsonl"]


def doubtful() -> dict:
    """Return a result whose second emotion is of too little confidence."""
    content = result(UTTERANCES)
    for number, utterance in enumerate(content["utterances"]):
        shares = dict.fromkeys(content["labels"], 0.2) | {utterance["emotion"]: 0.6}
        utterance |= {"probabilities": shares, "confidence": 0.6, "agree": True, "decisive": []}
        utterance["uncertain"] = number == 1
        visual = {"present": True, "emotion": "joy", "shift": 0.1, "confidence": 0.9}
        utterance["modalities"] = {"text": {"present": False}, "visual": visual}
    return content


@pytest.mark.parametrize("name", TABLES)
def test_tables_give_back_how_sure_the_model_was(tmp_path, name):
    content = doubtful()
    annotation = read_annotation(write(tmp_path, name, content))
    assert FORMATS["csv"].write(annotation) == FORMATS["csv"].write(content)
    assert label_of(annotation["utterances"][1]) == "uncertain"
    if name == "jsonl":
        assert [annotation[key] for key in ("media", "model", "profile")] == [
            content[key] for key in ("media", "model", "profile")
        ]


def test_elan_names_the_recording(tmp_path):
    content = doubtful()
    assert read_annotation(write(tmp_path, "eaf", content))["media"] == content["media"]


@pytest.mark.parametrize("name", ["srt", "vtt", "eaf", "textgrid", "audacity"])
def test_uncertain_is_no_emotion(tmp_path, name):
    annotation = read_annotation(write(tmp_path, name, doubtful()))
    assert [label_of(u) == "uncertain" for u in annotation["utterances"]] == [0, 1, 0, 0]
    assert "uncertain" not in annotation["labels"]


@pytest.mark.parametrize("name", ["json", *TABLES])
def test_an_emotion_changed_in_a_file_is_a_persons(tmp_path, name):
    content = doubtful()
    content["utterances"][1]["emotion"] = "fear"
    annotation = read_annotation(write(tmp_path, name, content))
    utterance = annotation["utterances"][1]
    assert label_of(utterance) == "fear" and confidence_of(utterance) is None
    assert annotation["edited"] and "edited" not in annotation["utterances"][0]


def save_as_in_germany(path: Path) -> None:
    """Save a CSV file of merc as a spreadsheet in Germany does."""
    table = pandas.read_csv(path, dtype=str, keep_default_na=False)
    german = table.replace(r"^(-?\d+)\.(\d+)$", r"\1,\2", regex=True)
    german = german.replace({"True": "WAHR", "False": "FALSCH"})
    german.to_csv(path, sep=";", index=False)


def test_a_table_that_a_spreadsheet_of_another_country_saved(tmp_path):
    content = doubtful()
    path = write(tmp_path, "csv", content)
    written = path.read_bytes()
    save_as_in_germany(path)
    assert FORMATS["csv"].write(read_annotation(path)) == written
    content["utterances"][1]["emotion"] = "fear"
    path.write_bytes(FORMATS["csv"].write(content))
    save_as_in_germany(path)
    assert label_of(read_annotation(path)["utterances"][1]) == "fear"


@pytest.mark.parametrize("words", [{"WAHR": "maybe"}, {"0,6": "60%"}, {"0,6": "6"}])
def test_a_cell_of_a_table_that_cannot_be_read_is_an_error(tmp_path, words):
    path = write(tmp_path, "csv", doubtful())
    save_as_in_germany(path)
    text = path.read_text()
    for old, new in words.items():
        text = text.replace(old, new)
    path.write_text(text)
    with pytest.raises(MercError, match=r"column \w+: '"):
        read_annotation(path)


def test_without_the_column_of_an_emotion_it_is_not_taken_for_changed(tmp_path):
    path = write(tmp_path, "csv", doubtful())
    table = pandas.read_csv(path, dtype=str, keep_default_na=False)
    for column in ("p_joy", "p_neutral", "p_anger"):
        table.drop(columns=[c for c in table if c == column]).to_csv(path, index=False)
        annotation = read_annotation(path)
        assert not annotation.get("edited"), column
        assert label_of(annotation["utterances"][1]) == "uncertain"
    table.drop(columns=[c for c in table if c.startswith("p_")]).to_csv(path, index=False)
    assert label_of(read_annotation(path)["utterances"][1]) == "uncertain"


def test_the_label_is_in_one_column_of_the_file(tmp_path):
    path = tmp_path / "talk.csv"
    path.write_text("start,end,text,label,emotion\n1,2,no,seg1,joy\n3,4,no,seg2,\n")
    assert [u["emotion"] for u in read_annotation(path)["utterances"]] == ["joy", "unlabelled"]


def test_the_confidence_of_another_table_is_not_that_of_the_emotion(tmp_path):
    header = "start,end,text,emotion,confidence,p_value,media"
    (tmp_path / "a.csv").write_text(f"{header}\n1,2,no,joy,0.9,17,x.wav\n")
    row = {"start": 1, "end": 2, "text": "no", "emotion": "joy", "confidence": "high"}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    for name in ("a.csv", "a.jsonl"):
        (utterance,) = read_annotation(tmp_path / name)["utterances"]
        assert utterance["emotion"] == "joy" and utterance["confidence"] is None
        assert not utterance["probabilities"] and read_annotation(tmp_path / name)["media"] == "a"


def test_two_emotions_of_the_same_words_are_both_read(tmp_path):
    path = tmp_path / "talk.csv"
    path.write_text("start,end,speaker,text,emotion\n1,2,A,no,joy\n1,2,A,no,anger\n")
    assert [u["emotion"] for u in read_annotation(path)["utterances"]] == ["joy", "anger"]


@pytest.mark.parametrize(
    "change",
    [
        {"probabilities": {"joy": "much"}},
        {"probabilities": [0.5]},
        {"modalities": 3},
        {"decisive": "text"},
        {"uncertain": "no"},
        {"start": -1},
    ],
)
def test_json_lines_of_a_wrong_shape_are_an_error(tmp_path, change):
    content = doubtful()
    content["utterances"][0] |= change
    path = write(tmp_path, "jsonl", doubtful())
    rows = [{"media": "a.mp4", **utterance} for utterance in content["utterances"]]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(MercError, match=r"talk\.merc\.jsonl: utterances, item 1, "):
        read_annotation(path)


def test_a_label_corrected_in_elan_is_used(tmp_path):
    path = write(tmp_path, "eaf", result(UTTERANCES))
    eaf = Eaf(str(path))
    (words,) = eaf.get_annotation_data_for_tier("Ann")
    eaf.remove_all_annotations_from_tier("emotion@Ann")
    eaf.add_ref_annotation("emotion@Ann", "Ann", 600, "contempt")
    eaf.to_file(str(path))
    annotation = read_annotation(path)
    assert (500, 2000, "Ann", words[2], "contempt") in essence(annotation)
    assert "contempt" in annotation["labels"]


def test_a_table_of_other_origin(tmp_path):
    path = tmp_path / "talk.csv"
    path.write_text("Start;End;Speaker;Text;Label\n0:00,5;0:02;Ann;Hi;joy\n3;4;Ben;No;\n")
    assert essence(read_annotation(path)) == [
        (500, 2000, "Ann", "Hi", "joy"),
        (3000, 4000, "Ben", "No", "unlabelled"),
    ]


@pytest.mark.parametrize(
    "change, reason",
    [
        (lambda c: c["utterances"][0].update(end=0.25), "before it starts at 0.5 s; correct"),
        (lambda c: c["utterances"][0].update(start="0"), "talk.merc.json: utterances, item 1"),
        (lambda c: c["utterances"][0].pop("end"), "end"),
        (lambda c: c.pop("utterances"), "utterances"),
        (lambda c: [u.update(emotion="") for u in c["utterances"]], "no emotions in this file"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, change, reason):
    content = json.loads(json.dumps(result(UTTERANCES)))
    change(content)
    path = tmp_path / "talk.merc.json"
    path.write_text(json.dumps(content))
    with pytest.raises(MercError, match=reason):
        read_annotation(path)


def test_the_recording_next_to_a_file(tmp_path):
    path = tmp_path / "my.talk.merc.eaf"
    assert stem_of(path) == "my.talk"
    assert find_recording(path, "my.talk.mp4") is None
    (tmp_path / "my.talk.mkv").touch()
    assert find_recording(path, "moved.mp4") == tmp_path / "my.talk.mkv"
    (tmp_path / "other.mp4").touch()
    assert find_recording(path, "other.mp4") == tmp_path / "other.mp4"


SILENT = ["json", "csv", "parquet", "vtt", "textgrid", "eaf"]  # formats that can say "none"


@pytest.mark.parametrize("name", SILENT)
def test_no_utterances_are_read_back_as_none(tmp_path, name):
    annotation = read_annotation(write(tmp_path, name, result([])))
    assert annotation["utterances"] == [] and not annotation["warnings"]
    for other in SILENT:
        assert read_annotation(write(tmp_path, other, annotation))["utterances"] == []


@pytest.mark.parametrize("name", sorted(set(READABLE) - {"json"}))
def test_an_empty_file_is_not_an_annotation_without_utterances(tmp_path, name):
    for content in (b"", b"\xef\xbb\xbf", b" \r\n\n"):
        path = tmp_path / f"talk.merc.{FORMATS[name].extension}"
        path.write_bytes(content)
        with pytest.raises(MercError):
            read_annotation(path)


TIER = '<TIER TIER_ID="A"><ANNOTATION><REF_ANNOTATION/></ANNOTATION></TIER>'
GRID = """File type = "ooTextFile"
Object class = "TextGrid"
0 1 <exists> 1 "IntervalTier" "emotion" 0 1 1 0 1 "joy"
"""


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "start,end,speaker,text\n"),  # a transcript
        ("a.csv", "start,end,text,emotion\n,,,\n"),
        ("a.csv", "start,end,text,emotion\nx,y,Yes,joy\n"),
        ("a.csv", "my notes\n"),
        ("a.tsv", "start\tend\ttext\temotion\n"),
        ("a.srt", "1\n"),
        ("a.vtt", "WEBVTT\n\n00:01.000 --> 00:02.000\n\n"),
        ("a.vtt", "WEBVTT\n\n1 --> 2\nHello\n"),
        ("a.vtt", "NOTE nothing\n"),
        ("a.eaf", "<html/>"),
        ("a.eaf", f"<ANNOTATION_DOCUMENT>{TIER}</ANNOTATION_DOCUMENT>"),
        ("a.TextGrid", GRID),
        ("a.TextGrid", GRID.splitlines()[0] + '"TextGrid" 0 1 <exists> 0'),
    ],
)
def test_what_cannot_be_used_is_not_taken_for_no_utterances(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(MercError):
        read_annotation(tmp_path / name)
