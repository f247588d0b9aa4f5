"""Columns of tables: their names in several languages, and what happens to unknown ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.core.dialogue import Utterance
from pipeline.core.errors import MercWarning
from pipeline.segmentation.transcripts import TranscriptError, read_transcript

ROWS = "Anna;0,5;1,2;Hello you\nBen;1,5;2,9;Hi there\n"
UTTERANCES = [Utterance(0.5, 1.2, "Hello you", "Anna"), Utterance(1.5, 2.9, "Hi there", "Ben")]


def read(path: Path, content: str, **options: float) -> tuple[list[Utterance], str]:
    """Return the utterances of a table, and the warnings."""
    path.write_text(content)
    warnings: list[MercWarning] = []
    utterances = read_transcript(path, warnings, **options)  # type: ignore[arg-type]
    return utterances, " ".join(warning.text for warning in warnings)


@pytest.mark.parametrize(
    "names",
    [
        "Sprecher;Beginn;Ende;Text",
        "Wer;Von;Bis;Gesagtes",
        "locuteur;debut;fin;text",
        "Intervenant;Début;Fin;Texte",
        "hablante;inicio;fin;texto",
        "Oratore;Inizio;Fine;Testo",
        "Falante;Início;Término;Fala",
        "actor;start;end;text",
        "speaker;start;finish;text",
        "Speaker Name;Start Time (s);End Time (s);Transcript",
        "Person;Start (hh:mm:ss.ms);End (hh:mm:ss.ms);Sentence",
        "tier;xmin;xmax;text",
    ],
)
def test_names_of_columns(tmp_path: Path, names: str) -> None:
    assert read(tmp_path / "x.csv", f"{names}\n{ROWS}") == (UTTERANCES, "")


def test_units(tmp_path: Path) -> None:
    for names in ("name;Start (ms);End (ms);text", "name;start_time_in_ms;endMs;text"):
        rows = ROWS.replace("0,5;1,2", "500;1200").replace("1,5;2,9", "1500;2900")
        assert read(tmp_path / "x.csv", f"{names}\n{rows}") == (UTTERANCES, "")


@pytest.mark.parametrize(
    ("names", "listed", "wanted"),
    [
        ("foo;bar;baz;text", "'bar', 'baz'", "start and end"),
        ("speaker;start;quux;text", "'quux'", "to end"),
        ("speaker;quux;end;text", "'quux'", "to start"),
    ],
)
def test_times_under_unknown_names_are_refused(
    tmp_path: Path, names: str, listed: str, wanted: str
) -> None:
    with pytest.raises(TranscriptError, match=listed) as caught:
        read(tmp_path / "x.csv", f"{names}\n{ROWS}")
    assert wanted in caught.value.remedy


def test_ignored_columns_are_named(tmp_path: Path) -> None:
    utterances, warning = read(tmp_path / "x.csv", "mensch;start;end;text\n" + ROWS)
    assert [u.speaker for u in utterances] == ["", ""]
    assert "'mensch'" in warning and "rename it to speaker" in warning
    content = '[{"id": 7, "start": 0, "end": 1, "text": "Hi", "emotion": "joy"}]'
    _, warning = read(tmp_path / "x.json", content)
    assert "'id'" in warning and "emotion labels (column emotion) are not used" in warning
    # numbers that count the rows are no times
    utterances, warning = read(tmp_path / "y.csv", "id,text\n1,Hi\n2,Ho\n3,Hu\n")
    assert len(utterances) == 3 and "'id'" in warning


def test_a_start_alone_lasts_until_the_next_one(tmp_path: Path) -> None:
    content = "Timecode,Person,Text\n00:00:01,Anna,Hi\n00:00:03,Ben,Ho\n"
    utterances, warning = read(tmp_path / "x.csv", content, duration=6.0)
    assert utterances == [Utterance(1, 3, "Hi", "Anna"), Utterance(3, 6, "Ho", "Ben")]
    assert "2 utterances have a start but no end" in warning
    utterances, warning = read(tmp_path / "x.csv", "Time,Who,Text\n0:01 - 0:03,Anna,Hi\n")
    assert (utterances, warning) == ([Utterance(1, 3, "Hi", "Anna")], "")
    with pytest.raises(TranscriptError, match="holds ends, but no column holds starts"):
        read(tmp_path / "x.csv", "end,text\n1,Hi\n3,Ho\n")


def test_senders_of_messages_are_speakers(tmp_path: Path) -> None:
    content = "time,from,to,message\n10:02:01,Anna,All,Hi\n10:02:05,Ben,All,Ho\n"
    utterances, warning = read(tmp_path / "x.csv", content, duration=60.0)
    assert utterances == [Utterance(1, 5, "Hi", "Anna"), Utterance(5, 60, "Ho", "Ben")]
    assert "the first is 10:02:01" in warning and "'to'" in warning


def test_a_cell_that_describes_a_sound_is_not_spoken(tmp_path: Path) -> None:
    rows = "0,1,A,Hi\n1,2,A,[door slams]\n2,3,A,♪ la ♪\n"
    utterances, warning = read(tmp_path / "x.csv", "start,end,speaker,text\n" + rows)
    assert [u.text for u in utterances] == ["Hi"] and "2 lines left out (sounds" in warning
    # a corpus counts [LAUGHTER] as an utterance
    corpus = "start,end,speaker,text,label\n" + rows.replace("\n", ",joy\n")
    assert len(read(tmp_path / "x.csv", corpus)[0]) == 3
