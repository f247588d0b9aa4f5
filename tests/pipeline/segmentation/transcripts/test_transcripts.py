"""Transcripts: every format gives the same utterances, and nothing is dropped silently."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clips import tone, write_wav
from support.results import result

from pipeline.core.dialogue import Utterance, Word
from pipeline.core.errors import MercWarning
from pipeline.exports import jsonl
from pipeline.media.decode import open_media
from pipeline.segmentation.alignment import align
from pipeline.segmentation.annotations import read_annotation
from pipeline.segmentation.segment import segment
from pipeline.segmentation.transcripts import (
    TranscriptError,
    find_transcript,
    read_rttm,
    read_transcript,
)

UTTERANCES = [
    Utterance(0.5, 1.25, "Hello & welcome", "Anna"),
    Utterance(1.5, 2.0, "What, now?", "Jürgen B."),
    Utterance(2.0, 3.75, "No", "Anna"),
]

SRT = (
    "1\n00:00:00,500 --> 00:00:01,250\nAnna: Hello &amp; welcome\n\n"
    "2\n00:00:01,500 --> 00:00:02,000\nJürgen B.: <i>What,</i>\nnow?\n\n"
    "3\n00:00:02,000 --> 00:00:03,750\nAnna: No\n"
)
VTT = (
    "WEBVTT\n\nNOTE a note\n\n"
    "00:00.500 --> 00:01.250 align:start\n<v Anna>Hello &amp; welcome</v>\n\n"
    "second\n00:01.500 --> 00:02.000\n<v.loud Jürgen B.>What, now?\n\n"
    "00:00:02.000 --> 00:00:03.750\n<v Anna>No\n"
)
CSV = (
    "start,end,speaker,text\n0.5,1.25,Anna,Hello & welcome\n"
    '1.5,2,Jürgen B.,"What, now?"\n2,3.75,Anna,No\n'
)
SEMICOLONS = (
    "Start;End;Speaker;Text\n0,5;1,25;Anna;Hello & welcome\n"
    "1,5;2;Jürgen B.;What, now?\n2;3,75;Anna;No\n"
)
MELD = (
    "Sr No.,Utterance,Speaker,Emotion,Dialogue_ID,Utterance_ID,StartTime,EndTime\n"
    '1,Hello & welcome,Anna,joy,0,0,"00:00:00,500","00:00:01,250"\n'
    '2,"What, now?",Jürgen B.,anger,0,1,"00:00:01,500","00:00:02,000"\n'
    '3,No,Anna,joy,0,2,"00:00:02,000","00:00:03,750"\n'
)


def _textgrid() -> str:
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        "xmax = 4",
        "tiers? <exists>",
        "size = 2",
        "item []:",
    ]
    for number, name in enumerate(("Anna", "Jürgen B."), 1):
        by_name = [u for u in UTTERANCES if u.speaker == name]
        edges = sorted({0.0, 4.0, *(t for u in by_name for t in (u.start, u.end))})
        lines += [
            f"    item [{number}]:",
            '        class = "IntervalTier"',
            f'        name = "{name}"',
            "        xmin = 0",
            "        xmax = 4",
            f"        intervals: size = {len(edges) - 1}",
        ]
        for k, (start, end) in enumerate(itertools.pairwise(edges), 1):
            text = next((u.text for u in by_name if u.start == start), "")
            lines += [
                f"        intervals [{k}]:",
                f"            xmin = {start}",
                f"            xmax = {end}",
                f'            text = "{text}"',
            ]
    return "\n".join(lines) + "\n"


FORMATS = {
    "x.srt": SRT,
    "x.vtt": VTT,
    "x.csv": CSV,
    "y.csv": SEMICOLONS,
    "meld.csv": MELD,
    "x.TextGrid": _textgrid(),
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_and_encoding_gives_the_same(tmp_path: Path, name: str, encoding: str) -> None:
    (tmp_path / name).write_bytes(FORMATS[name].replace("\n", "\r\n").encode(encoding))
    warnings: list[MercWarning] = []
    assert read_transcript(tmp_path / name, warnings) == UTTERANCES
    decoding = [warning for warning in warnings if "UTF-8" in warning.text]
    assert bool(decoding) == (encoding == "cp1252")
    unused = " ".join(warning.text for warning in warnings if warning not in decoding)
    assert all(column in unused for column in ("Emotion", "'Sr No.'")) == (name == "meld.csv")
    assert all(warning.subject == name for warning in warnings)


def test_plain_text_has_no_times(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("Anna: Hello there\n\nBob: It is 10:30\nand so on\n")
    utterances = read_transcript(tmp_path / "x.txt")
    assert [(u.speaker, u.text) for u in utterances] == [
        ("Anna", "Hello there"),
        ("Bob", "It is 10:30"),
        ("Bob", "and so on"),
    ]
    assert all(math.isnan(u.start) and math.isnan(u.end) for u in utterances)
    # a single colon is not a speaker
    (tmp_path / "y.txt").write_text("Listen: no\nThat is all I say\nand more\n")
    assert not any(u.speaker for u in read_transcript(tmp_path / "y.txt"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.srt", b""),
        ("x.srt", b"\x00\xff" * 50),
        ("x.vtt", b"WEBVTT\n"),
        ("x.csv", b"a,b\n1,2\n"),
        ("x.txt", b" \n"),
        ("x.csv", b"start,end,text\n"),
        ("x.TextGrid", b"File type"),
        ("x.TextGrid", b""),
        ("x.pdf", b"%PDF"),
        ("x.json", b"{}"),
        ("x.rttm", b"SPEAKER x 1 a b <NA> <NA> S"),
        ("x.csv", b"Utterance,Dialogue_ID\nhi,1\nho,2\n"),
    ],
)
def test_an_error_names_the_file_and_a_remedy(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TranscriptError, match=name) as caught:
        read_transcript(tmp_path / name)
    assert caught.value.remedy


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([".srt", ".vtt", ".csv", ".txt", ".TextGrid"]))
def test_any_bytes_give_utterances_or_a_transcript_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("any") / f"x{suffix}"
    path.write_bytes(FORMATS.get(f"x{suffix}", "").encode()[: len(data)] + data)
    try:
        assert all(u.text for u in read_transcript(path))
    except TranscriptError as error:
        assert path.name in error.reason and error.remedy


def test_the_transcript_next_to_a_recording_is_found(tmp_path: Path) -> None:
    media = tmp_path / "a b.mp4"
    media.touch()
    assert find_transcript(media) is None
    for name in ("a b.merc.srt", "a b.merc.csv", "a.srt", "a b.json"):
        (tmp_path / name).write_text(SRT)
    assert find_transcript(media) is None
    (tmp_path / "a b.rttm").write_text("SPEAKER x 1 0 1 <NA> <NA> A <NA> <NA>\n")
    assert find_transcript(media) == tmp_path / "a b.rttm"
    (tmp_path / "a b.VTT").write_text(VTT)
    assert find_transcript(media) == tmp_path / "a b.VTT"  # words come before speakers only
    media = tmp_path / "x.merc.mp4"
    (tmp_path / "x.merc.srt").write_text(SRT)
    assert find_transcript(media) is None


def test_real_turns_of_an_rttm(media: Path) -> None:
    turns = read_rttm(media / "turns" / "sample.rttm")
    assert len(turns) == 10 and turns[0] == (6.69, pytest.approx(7.12), "speaker90")
    assert {speaker for *_, speaker in turns} == {"speaker90", "speaker91"}


def test_what_a_file_has_twice_is_read_once_and_said(tmp_path: Path) -> None:
    cues = [(1, 2, "Yes."), (1, 2, "No."), (1.5, 2, "Yes."), (3, 4, "Yes.")]
    block = "{0}\n00:00:0{1},000 --> 00:00:0{2},000\n{3}\n\n"
    blocks = [block.format(k, int(start), end, text) for k, (start, end, text) in enumerate(cues)]
    blocks[2] = blocks[2].replace("01,000", "01,500")
    path = tmp_path / "x.srt"
    path.write_text("".join(blocks * 2))
    warnings: list[MercWarning] = []
    utterances = read_transcript(path, warnings)
    assert [(u.start, u.end, u.text) for u in utterances] == cues
    assert [w.text for w in warnings if "twice" in w.text and "4 lines left out" in w.text]
    (tmp_path / "x.txt").write_text("A: Yes.\nB: No.\nA: Yes.\n")
    assert len(read_transcript(tmp_path / "x.txt")) == 3


def test_of_joined_json_lines_those_of_the_recording_are_read(tmp_path: Path) -> None:
    content = result([(0.0, 1.0, "Ann", "one"), (2.0, 3.0, "Ben", "two")])
    other = result([(0.5, 1.5, "Ann", "three")]) | {"media": "b.wav"}
    path = tmp_path / "all.jsonl"
    path.write_bytes(jsonl.write(content) + jsonl.write(other))
    warnings: list[MercWarning] = []
    utterances = read_transcript(path, warnings, recording="b.wav")
    assert [u.text for u in utterances] == ["three"]
    assert [w for w in warnings if "2 recordings" in w.text]
    for recording in ("c.wav", None):
        with pytest.raises(TranscriptError, match=r"2 recordings \(my clip é.mp4, b.wav\)"):
            read_transcript(path, recording=recording)
    with pytest.raises(TranscriptError, match="2 recordings"):
        read_annotation(path)


def test_bad_times_are_repaired_with_a_warning(tmp_path: Path) -> None:
    recording = write_wav(tmp_path / "x.wav", [tone(10, 8000)], 8000)
    (tmp_path / "x.csv").write_text(
        "start,end,speaker,text\n4,5,A,second\n1,3,B,first\n2,4.5,A,overlap\n7,6,B,turned\n"
        "9,99,A,long\n20,21,B,beyond\n-1,0.5,A,early\n8,8,B,nothing\n"
    )
    with open_media(recording) as media:
        result = segment(media)
    assert [(u.start, u.end, u.text) for u in result.utterances] == [
        (0, 0.5, "early"),
        (1, 3, "first"),
        (2, 4.5, "overlap"),
        (4, 5, "second"),
        (6, 7, "turned"),
        (9, 10, "long"),
    ]
    assert {warning.subject for warning in result.warnings} == {"x.csv"}
    texts = " ".join(warning.text for warning in result.warnings)
    for text in (
        "1 of 8 utterances end before they start; their times were swapped",
        "1 of 8 utterances start before 0 s and were cut there",
        "1 of 8 utterances extend beyond the recording's 10.0 s and were cut there",
        "2 of 8 utterances lie outside the recording's 10.0 s or are empty, and were left out",
        "backwards",
    ):
        assert text in texts
    assert result.source["kind"] == "transcript" and str(tmp_path) not in repr(result.source)


def test_a_line_break_of_ass_in_srt_is_one(tmp_path: Path) -> None:
    path = tmp_path / "x.srt"
    path.write_text("1\n00:00:01,000 --> 00:00:02,000\n- Who\\Ngoes there?\\N- Me.\n")
    assert [u.text for u in read_transcript(path)] == ["Who goes there?", "Me."]


def test_untimed_words_get_the_times_of_recognised_words() -> None:
    recognised = "we were there and so was she yesterday at ten".split()
    words = [Word(k, k + 0.5, f" {token}", 1.0) for k, token in enumerate(recognised)]
    utterances = [
        Utterance(math.nan, math.nan, text)
        for text in ("We were there,", "and so was SHE!", "Xylophone quartz.", "Yesterday at ten.")
    ]
    timed, unmatched = align(utterances, words)
    assert [(u.start, u.end) for u in timed] == [(0, 2.5), (3, 6.5), (7, 9.5)]
    assert unmatched == ["Xylophone quartz."]
    assert align(utterances, []) == ([], [u.text for u in utterances])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from("a b c d e".split()), max_size=25),
    st.lists(st.integers(1, 4), max_size=8),
    st.randoms(use_true_random=False),
)
def test_alignment_keeps_order_and_finds_every_exact_word(
    tokens: list[str], lengths: list[int], rng: object
) -> None:
    """If all words are recognised, utterances get exactly their times; starts never decrease."""
    words = [Word(k, k + 1.0, token, 1.0) for k, token in enumerate(tokens)]
    utterances, first = [], 0
    for length in lengths:
        if tokens[first : first + length]:
            utterances.append(
                Utterance(math.nan, math.nan, " ".join(tokens[first : first + length]))
            )
        first += length
    counts = [len(u.text.split()) for u in utterances]
    exact, unmatched = align(utterances, words[: sum(counts)])
    assert not unmatched and [u.end - u.start for u in exact] == counts
    some = [word for word in words if rng.random() < 0.7]  # type: ignore[attr-defined]
    timed, _ = align(utterances, some)
    assert np.all(np.diff([u.start for u in timed]) >= 0)
