"""Plain text, with or without names and clock times, as meeting tools and recognisers write it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from itertools import pairwise

from pipeline.core.dialogue import Utterance
from pipeline.segmentation.transcripts.audacity import is_audacity, read_audacity
from pipeline.segmentation.transcripts.clock import CLOCK, seconds
from pipeline.segmentation.transcripts.cue import find_times
from pipeline.segmentation.transcripts.markup import one_line, spoken
from pipeline.segmentation.transcripts.prefixes import is_capitalised
from pipeline.segmentation.transcripts.source import Source
from pipeline.segmentation.transcripts.speech import Piece, split_speakers
from pipeline.segmentation.transcripts.srt import read_srt
from pipeline.segmentation.transcripts.vtt import read_vtt

__all__ = ["read_plain"]

_TIME = rf"[\[(]?({CLOCK})[\])]?"
_SPAN = re.compile(rf"[\[(]?({CLOCK})\s*(?:-{{1,2}}>|-|–|—|to)\s*({CLOCK})[\])]?\s*:?\s*(.*)")
_NAME = r"([^\W\d_][^\n:：\[\]()]{0,60}?)(?:\s*\([^()\d]{1,40}\))?"
_NAME_TIME = re.compile(rf"\[?{_NAME}\]?([\s,\-–—|]+){_TIME}\s*:?")
_NAME_TIME_TEXT = re.compile(rf"{_NAME}\s*[\[(]({CLOCK})[\])]\s*[:：]?\s*(.*)")
_TIME_FIRST = re.compile(rf"{_TIME}\s*(?:[-–—|]\s*)?(.*)")
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
    if is_audacity(text):
        return read_audacity(source)
    lines = [spoken(line).strip() for line in text.split("\n")]
    lines = [line for line in lines if one_line(line)]
    marks = [_mark(line) for line in lines]
    if _is_timed(marks):
        return _read_turns(lines, marks, source)
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


def _mark(line: str) -> _Line | None:
    """Read a line that begins with a time, or that has a time after a name."""
    match = _SPAN.fullmatch(line)
    if match:
        return _Line(seconds(match[1]), seconds(match[2]), "", one_line(match[3]))
    match = _NAME_TIME.fullmatch(line)
    if match:
        name = one_line(match[1])
        # "We met at 10:30" is a sentence
        if len(match[2]) > 1 or is_capitalised(name):
            return _Line(seconds(match[3]), math.nan, name, "")
    match = _NAME_TIME_TEXT.fullmatch(line)
    if match:
        return _Line(seconds(match[2]), math.nan, one_line(match[1]), one_line(match[3]))
    match = _TIME_FIRST.fullmatch(line)
    if match:
        return _Line(seconds(match[1]), math.nan, "", one_line(match[2]))
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
    pieces = []
    for k, (turn, said) in enumerate(zip(turns, below, strict=True)):
        if names_follow and named[k] and not turn.speaker:
            pieces.append(Piece(k, tuple(said), turn.text.strip(" :：")))
        elif turn.text or said:
            pieces.append(
                Piece(k, tuple(part for part in (turn.text, *said) if part), turn.speaker)
            )
        else:
            source.leave_out("times without words", f"{turn.speaker} {turn.start:g} s")
    pieces = split_speakers(pieces, source, carry=0.5)
    return [Utterance(turns[p.cue].start, turns[p.cue].end, p.text, p.speaker) for p in pieces]
