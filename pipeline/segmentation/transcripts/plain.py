"""Plain text, with or without names and clock times, as meeting tools and recognisers write it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from itertools import pairwise

from pipeline.core.dialogue import Utterance
from pipeline.segmentation.transcripts.audacity import is_audacity, read_audacity
from pipeline.segmentation.transcripts.clock import CLOCK, FrameRateNeeded, is_of_day, seconds
from pipeline.segmentation.transcripts.column_names import ROLES, ColumnName
from pipeline.segmentation.transcripts.csv import read_csv
from pipeline.segmentation.transcripts.cue import find_times, frames_unreadable
from pipeline.segmentation.transcripts.markup import one_line, spoken
from pipeline.segmentation.transcripts.prefixes import is_capitalised
from pipeline.segmentation.transcripts.source import Source, TranscriptError, shorten
from pipeline.segmentation.transcripts.speech import Piece, split_speakers
from pipeline.segmentation.transcripts.srt import read_srt
from pipeline.segmentation.transcripts.vtt import read_vtt

__all__ = ["read_plain"]

_TIME = rf"[\[(]?({CLOCK})[\])]?"
_SPAN = re.compile(rf"[\[(]?({CLOCK})\s*(?:-{{1,2}}>|-|–|—|to)\s*({CLOCK})[\])]?\s*:?\s*(.*)")
_NAME = r"([^\W\d_][^\n:：\[\]()]{0,60}?)(?:\s*\([^()\d]{1,40}\))?"
_NAME_TIME = re.compile(rf"\[?{_NAME}\]?:?([\s,\-–—|]+){_TIME}\s*:?")
_NAME_TIME_TEXT = re.compile(rf"{_NAME}\s*[\[(]({CLOCK})[\])]\s*[:：]?\s*(.*)")
_TIME_FIRST = re.compile(rf"{_TIME}\s*(?:[-–—|]\s*)?(.*)")
_BULLET = re.compile(r"\*\*|__")  # bold, in Markdown
_CHAT = re.compile(r"from\s+(.{1,60}?)(?:\s+to\s+[^:]{1,60}?)?\s*:\s*(.*)", re.IGNORECASE)  # Zoom
# f4 and easytranscript: the time at the end of a paragraph
_F4 = re.compile(r"(?:(.*?)\s*)#(\d{1,2}:\d\d:\d\d)-(\d{1,3})#\s*$")
_LOST = re.compile(rf"[\[(<#][^\])>#]{{0,8}}?(?<!\d){CLOCK}|{CLOCK}.{{0,80}}?(?<!\d){CLOCK}")
_FOOTER = re.compile(
    r"(?:this (?:transcript|file) was |\W*)(?:transcribed|transcript|generated|created|recorded"
    r"|captioned|subtitles?|captions?|exported|powered)\b.{0,40}?\b(?:by|with|from|on)\b"
    r"|.{1,60} (?:started|stopped) (?:the )?transcription\W*$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class _Line:
    """A line of text. start is NaN without a time; speaker is "" without a name."""

    start: float
    end: float
    speaker: str
    text: str


def read_plain(source: Source) -> list[Utterance]:
    """Read text: subtitles, labels, turns with times, or lines alone (their times are NaN)."""
    text = source.text
    if text.lstrip().startswith("WEBVTT"):
        return read_vtt(source)
    if any(find_times(line) for line in text.split("\n")):
        return read_srt(source)
    if _is_table(text):
        return read_csv(source)
    if is_audacity(text):
        return read_audacity(source)
    lines = [spoken(line).strip() for line in text.split("\n")]
    lines = [_BULLET.sub("", line) for line in lines if one_line(line)]
    f4 = [_F4.fullmatch(line) for line in lines]
    if lines and 2 * sum(match is not None for match in f4) >= len(lines):
        return _read_f4(lines, source)
    try:
        marks = [_mark(line, source) for line in lines]
    except FrameRateNeeded as error:
        raise frames_unreadable(source, str(error), "the times") from error
    if _is_timed(marks):
        return _read_turns(lines, marks, source)
    lost = [line for line in lines if _LOST.search(line)]
    if len(lost) >= max(2, 0.3 * len(lines)):
        raise TranscriptError(
            f"{source.path}: has times in a layout that merc does not know: {shorten(lost[0])!r}",
            "write lines such as '[00:01] Anna: Hello', or a table with the columns "
            "start,end,speaker,text",
        )
    pieces = []
    for k, line in enumerate(lines):
        if _is_note(k, lines):
            source.leave_out("a note on the transcript", line)
        else:
            pieces.append(Piece(k, (line,)))
    pieces = split_speakers(pieces, source, carry=0.0)
    return [Utterance(math.nan, math.nan, p.text, p.speaker) for p in pieces]


def _is_note(k: int, lines: list[str]) -> bool:
    """Whether a line at the beginning or the end says who made the transcript."""
    return (k < 3 or k >= len(lines) - 3) and _FOOTER.match(lines[k]) is not None


def _is_table(text: str) -> bool:
    """Whether the first line names the columns of a table with tabs: times and texts."""
    first = next((line for line in text.split("\n") if line.strip()), "")
    keys = {ColumnName.parse(name).key for name in first.split("\t")[:100]}
    return len(keys) > 1 and all(keys & set(ROLES[role]) for role in ("start", "text"))


def _read_f4(lines: list[str], source: Source) -> list[Utterance]:
    """Read paragraphs that end in a time; each lasts from the end of the one before."""
    pieces: list[Piece] = []
    ends: list[float] = []
    above: list[str] = []
    for line in lines:
        match = _F4.fullmatch(line)
        if match is None:
            above.append(line)
            continue
        pieces.append(Piece(len(ends), tuple(part for part in (*above, match[1]) if part)))
        ends.append(seconds(f"{match[2]}.{match[3]}"))
        above = []
    for line in above:
        source.leave_out("after the last time", line)
    source.warn("its times are those of ends; each utterance lasts from the end of the one before")
    pieces = split_speakers([piece for piece in pieces if piece.lines], source, carry=0.5)
    starts = [0.0, *ends]
    return [Utterance(starts[p.cue], ends[p.cue], p.text, p.speaker) for p in pieces]


def _mark(line: str, source: Source) -> _Line | None:
    """Read a line that begins with a time, or that has a time after a name."""

    def time(text: str) -> float:
        source.of_day = source.of_day or is_of_day(text)
        return seconds(text, source.frame_rate)

    match = _SPAN.fullmatch(line)
    if match:
        return _Line(time(match[1]), time(match[2]), "", one_line(match[3]))
    match = _NAME_TIME.fullmatch(line)
    if match:
        name = one_line(match[1])
        # "We met at 10:30" is a sentence
        if len(match[2]) > 1 or is_capitalised(name):
            return _Line(time(match[3]), math.nan, name, "")
    match = _NAME_TIME_TEXT.fullmatch(line)
    if match:
        return _Line(time(match[2]), math.nan, one_line(match[1]), one_line(match[3]))
    match = _TIME_FIRST.fullmatch(line)
    if match:
        chat = _CHAT.fullmatch(match[2])
        if chat:
            return _Line(time(match[1]), math.nan, one_line(chat[1]), one_line(chat[2]))
        return _Line(time(match[1]), math.nan, "", one_line(match[2]))
    return None


def _is_timed(marks: list[_Line | None]) -> bool:
    """Whether the times of lines are those of turns: frequent, and in order."""
    starts = [mark.start for mark in marks if mark]
    backwards = sum(b < a for a, b in pairwise(starts))
    return len(starts) >= max(1, 0.2 * len(marks)) and backwards <= 0.1 * len(starts)


def _read_turns(lines: list[str], marks: list[_Line | None], source: Source) -> list[Utterance]:
    """Read turns that begin with a time; the lines after it belong to the turn."""
    turns: list[_Line] = []
    below: list[list[str]] = []
    for k, (line, mark) in enumerate(zip(lines, marks, strict=True)):
        if mark is not None:
            turns.append(mark)
            below.append([])
        elif not turns:
            source.leave_out("before the first time", line)
        elif _is_note(k, lines):
            source.leave_out("a note on the transcript", line)
        else:
            below[-1].append(line)
    named = [
        bool(turn.text and is_capitalised(turn.text) and said)
        for turn, said in zip(turns, below, strict=True)
    ]
    names_follow = sum(named) >= 0.8 * len(turns)  # "0:03 Anna Berg" above her words
    names_below = _have_names_below(turns, below)
    pieces = []
    for k, (turn, said) in enumerate(zip(turns, below, strict=True)):
        if names_follow and named[k] and not turn.speaker:
            pieces.append(Piece(k, tuple(said), turn.text.strip(" :：")))
        elif names_below and len(said) > 1:  # Premiere Pro: time, name, words
            pieces.append(Piece(k, tuple(said[1:]), said[0].strip(" :：")))
        elif turn.text or said:
            pieces.append(
                Piece(k, tuple(part for part in (turn.text, *said) if part), turn.speaker)
            )
        else:
            source.leave_out("times without words", f"{turn.speaker} {turn.start:g} s")
    pieces = split_speakers(pieces, source, carry=0.5)
    return [Utterance(turns[p.cue].start, turns[p.cue].end, p.text, p.speaker) for p in pieces]


def _have_names_below(turns: list[_Line], below: list[list[str]]) -> bool:
    """Whether a line with a time alone is followed by a name, and then by words."""
    first = [said[0] for turn, said in zip(turns, below, strict=True) if not turn.text and said[1:]]
    names = [name for name in first if is_capitalised(name) and name[-1] not in ".?!,…"]
    repeated = len(set(names)) < len(names) or all(name[-1].isdigit() for name in names)
    return bool(names) and len(names) >= 0.8 * len(turns) and repeated
