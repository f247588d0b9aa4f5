"""merc reads back everything that it writes, whatever the names and the words."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from support.results import LABELS, result, results

from pipeline.exports import FORMATS
from pipeline.exports.rows import line
from pipeline.segmentation.transcripts import read_rttm, read_transcript

TEXT_FORMATS = [name for name in FORMATS if name != "rttm"]
HARD = result(
    [
        (0.2, 0.9, "Anna", "=1+1 is two"),
        (0.9, 1.4, "Anna", "NA"),
        (1.0, 1.3, "Anna", "at the same time"),  # overlaps an utterance of the same speaker
        (1.5, 2.2, 'Ben "B" [joy]: x', "a --> b & <b>c</b> {\\an8} &amp; \u2060 d"),
        (2.2, 2.3, "emotion@Anna", "None"),
        (2.3, 3.0, "", "Ben: no speaker is named here"),
        (3.0, 3.4, "unknown", "[door slams]"),
        (3.4, 3.9, "Дима", "Привет 🎬 \u202eabc\u202c"),
        (4.0, 4.1, "<v Ben>", ""),
        (4.2, 4.3, "Anna (2)", "..."),
    ]
)


def key(start: float, end: float, speaker: str, text: str) -> tuple[int, int, str, str]:
    return round(1000 * start), round(1000 * end), speaker, text


def wanted(content: dict) -> Counter:
    return Counter(
        key(u["start"], u["end"], line(u["speaker"]), line(u["text"]))
        for u in content["utterances"]
    )


@pytest.mark.parametrize("name", TEXT_FORMATS)
@settings(max_examples=40, deadline=None)
@given(content=results())
@example(content=HARD)
@example(content=result([(0.0, 1.0, "", "")]))
@example(content=result([(0.0, 1.0, "A", "No."), (1.0, 2.0, "A", "No."), (2.0, 3.0, "A", "No.")]))
@example(content=result([(3600.0, 3601.0, "A", "b"), (36000.0, 90000.0, "B", "c")]))
def test_the_same_utterances(
    tmp_path_factory: pytest.TempPathFactory, name: str, content: dict
) -> None:
    path = tmp_path_factory.mktemp("own") / f"x.merc.{FORMATS[name].extension}"
    path.write_bytes(FORMATS[name].write(content))
    utterances = read_transcript(path, copies=True)
    assert Counter(key(u.start, u.end, u.speaker, u.text) for u in utterances) == wanted(content)
    again = read_transcript(path, duration=100_000.0, frame_rate=25.0, copies=True)
    assert again == utterances


@settings(max_examples=40, deadline=None)
@given(content=results())
@example(content=result([(0.0, 1.0, "<NA>", ""), (1.0, 2.0, "<na>", ""), (2.0, 3.0, "NA", "")]))
def test_the_same_turns(tmp_path_factory: pytest.TempPathFactory, content: dict) -> None:
    """RTTM has no words; white space in a name becomes an underscore."""
    path = tmp_path_factory.mktemp("own") / "x.merc.rttm"
    path.write_bytes(FORMATS["rttm"].write(content))
    turns = Counter(key(*turn, "") for turn in read_rttm(path, "my clip é"))
    spoken = [
        (u["start"], u["end"], "_".join(line(u["speaker"]).split())) for u in content["utterances"]
    ]
    names = {"<NA>": "NA", "<na>": "na"}  # <NA> means no value
    assert turns == Counter(key(a, b, names.get(name, name), "") for a, b, name in spoken)


@pytest.mark.parametrize("name", ["srt", "vtt", "audacity"])
def test_a_corrected_file_keeps_its_new_lines(tmp_path: Path, name: str) -> None:
    """A person corrects words, removes a label and adds a line."""
    content = result([(k, k + 0.9, f"S{k % 2}", f"line {k}") for k in range(6)])
    path = tmp_path / f"x.merc.{FORMATS[name].extension}"
    text = FORMATS[name].write(content).decode().replace("line 3", "corrected: yes")
    text = text.replace("S0 [neutral]: line 0", "S0: line 0")
    text = text.replace("<v S0>[neutral] line 0", "<v S0>line 0")
    path.write_text(text)
    utterances = read_transcript(path)
    assert [u.text for u in utterances][3] == "corrected: yes"
    assert next((u.speaker, u.text) for u in utterances) == ("S0", "line 0")
    assert not any(label in u.text for u in utterances for label in LABELS)
    assert len(utterances) == 6


def test_own_exports_of_the_cases(shared: Path) -> None:
    folder = shared / "cases" / "transcripts"
    for name in ("merc_own.srt", "merc_own.vtt", "merc_aud.txt"):
        utterances = read_transcript(folder / name)
        assert [(u.start, u.end, u.speaker, u.text) for u in utterances] == [
            (0.892, 2.212, "S1", "Bin blue at F2 now."),
            (3.55, 5.9, "S2", "Set white in Z3 now."),
        ]
    utterances = read_transcript(folder / "own.TextGrid")
    assert len(utterances) == 12
    assert utterances[4].speaker == "emotion@Anna" and utterances[4].text == "None"
    assert [u.text for u in utterances if u.speaker == "Anna"] == [
        "=1+1 is two",
        "NA",
        "ultra short",
        "nan",
        "{\\an8}brace [x] 'q' \"qq\"",
    ]
