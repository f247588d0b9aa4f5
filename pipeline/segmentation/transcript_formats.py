"""Formats of transcripts: SubRip, WebVTT, CSV (also MELD's), Praat TextGrid, plain text.

A reader takes the text of a file and its path and returns utterances. A new format is one function
and one line in `READERS`.
"""

from __future__ import annotations

import csv
import html
import io
import math
import re
from collections.abc import Callable
from pathlib import Path

from pipeline.core.dialogue import Utterance
from pipeline.core.errors import MercError

__all__ = ["READERS", "TranscriptError"]

_PREFIX = re.compile(r"^\s*(?:>>+\s*)?([^\W\d_][\w .'’\-]{0,30}?)\s*:\s+(?=\S)")
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]+)>", re.IGNORECASE)
_TAG = re.compile(r"</?[A-Za-z][^<>]*>|<\d[\d:.]*>")
_CLOCK = re.compile(r"^(-?)(?:(?:(\d+):)?(\d+):)?(\d+(?:[.,]\d*)?|[.,]\d+)$")
_PHONES = re.compile(r"\bphon(e|eme)s?$", re.IGNORECASE)
_COLUMNS = {
    "start": ("start", "starttime", "start_time", "begin", "onset", "from", "start_s", "start (s)"),
    "end": ("end", "endtime", "end_time", "stop", "offset", "to", "end_s", "end (s)"),
    "speaker": ("speaker", "speaker_id", "name", "who"),
    "text": ("text", "utterance", "transcript", "transcription", "sentence", "content"),
}


class TranscriptError(MercError):
    """A transcript cannot be read."""


def _read_subtitles(text: str, path: Path, format: str) -> list[Utterance]:
    import pysubs2

    try:
        events = pysubs2.SSAFile.from_string(text, format_=format, keep_unknown_html_tags=True)
    except (pysubs2.Pysubs2Error, ValueError) as error:
        raise TranscriptError(
            f"{path}: not a readable {format.upper()} file: {error}",
            "open it in a subtitle editor and save it again",
        ) from error
    cues = []
    for event in events:
        body = event.plaintext
        if format == "vtt":
            # pysubs2 appends the identifiers and notes that follow a cue to its text
            body = body.split("\n\n")[0]
        voice = _VOICE.search(body)
        speaker = _clean(voice.group(1)) if voice else ""
        cues.append(Utterance(event.start / 1000, event.end / 1000, _clean(body), speaker))
    return _split_prefixes([cue for cue in cues if cue.text])


def _read_srt(text: str, path: Path) -> list[Utterance]:
    return _read_subtitles(text, path, "srt")


def _read_vtt(text: str, path: Path) -> list[Utterance]:
    return _read_subtitles(text, path, "vtt")


def _read_csv(text: str, path: Path) -> list[Utterance]:
    header, rows, separator = _rows(text, path)
    names = [name.strip().lower() for name in header]
    columns = {}
    for role, known in _COLUMNS.items():
        columns[role] = next((names.index(name) for name in known if name in names), None)
    if columns["text"] is None:
        raise TranscriptError(
            f"{path}: no text column; the columns are "
            f"{', '.join(name[:20] for name in header[:12])}",
            "name the columns start,end,speaker,text, or provide text alone",
        )
    # surplus separators belong to the last column, usually the text
    rows = [[*row[: len(names) - 1], separator.join(row[len(names) - 1 :])] for row in rows]

    if "dialogue_id" in names and len({row[names.index("dialogue_id")] for row in rows}) > 1:
        raise TranscriptError(
            f"{path}: holds several dialogues",
            "keep only the rows of this recording, with times counted from its start",
        )

    def cell(row: list[str], role: str) -> str:
        column = columns[role]
        return row[column] if column is not None and column < len(row) else ""

    utterances = []
    for row in rows:
        start, end = _seconds(cell(row, "start")), _seconds(cell(row, "end"))
        line, speaker = _clean(cell(row, "text")), _clean(cell(row, "speaker"))
        if line:
            utterances.append(Utterance(start, end, line, speaker))
    return _split_prefixes(utterances)


def _rows(text: str, path: Path) -> tuple[list[str], list[list[str]], str]:
    """Split a CSV file into its header, its rows, and the separator it uses."""
    lines = [line for line in text.splitlines() if line.strip()] or [""]
    separator = max(",;\t", key=lines[0].count)
    if separator in lines[0]:
        try:
            header, *rows = filter(None, csv.reader(io.StringIO(text), delimiter=separator))
        except csv.Error as error:
            raise TranscriptError(
                f"{path}: not a readable CSV file: {error}",
                "open it in a spreadsheet program and save it as CSV",
            ) from error
        return header, rows, separator
    # a single column: commas belong to the text, and quotes enclose it
    header, *rows = [
        next(csv.reader([line]), [""])[:1] if line.startswith('"') else [line] for line in lines
    ]
    return header, rows, separator


def _read_plain(text: str, path: Path) -> list[Utterance]:
    lines = [_clean(line) for line in text.splitlines()]
    return _split_prefixes([Utterance(math.nan, math.nan, line) for line in lines if line])


def _read_textgrid(text: str, path: Path) -> list[Utterance]:
    """Read the intervals of all interval tiers; the speaker is the name of the tier.

    Tiers of phones are skipped, unless there are no others.
    """
    from pympi.Praat import TextGrid

    grid = TextGrid(xmax=1)
    grid.tiers.clear()
    try:
        data = path.read_bytes()
        binary = data.startswith(b"ooBinaryFile")
        grid.from_file(io.BytesIO(data if binary else text.encode()), "utf-8")
    except Exception as error:  # pympi's parser raises anything, even StopIteration
        raise TranscriptError(
            f"{path}: not a readable TextGrid ({type(error).__name__} while parsing)",
            "save it from Praat as text",
        ) from error
    intervals = [tier for tier in grid.tiers if tier.tier_type == "IntervalTier"]
    tiers = [tier for tier in intervals if not _PHONES.search(tier.name)] or intervals
    utterances = []
    for tier in tiers:
        for start, end, line in tier.intervals:
            utterances.append(Utterance(float(start), float(end), _clean(line), _clean(tier.name)))
    return sorted(utterances, key=lambda u: (u.start, u.end))


def _split_prefixes(cues: list[Utterance]) -> list[Utterance]:
    """Turn `Anna: Hello` into speaker Anna, if at least half of the cues look like that.

    A cue without a name belongs to the speaker before it.
    """
    matches = [_PREFIX.match(cue.text) for cue in cues]
    named = sum(match is not None for match in matches)
    if any(cue.speaker for cue in cues) or not named or 2 * named < len(cues):
        return cues
    speaker, split = "", []
    for cue, match in zip(cues, matches, strict=True):
        text = cue.text
        if match:
            speaker = " ".join(match.group(1).split())
            text = text[match.end() :]
        split.append(Utterance(cue.start, cue.end, text, speaker))
    return split


def _clean(text: str) -> str:
    """Remove tags, entities and surplus white space.

    >>> _clean("<i>Hello</i> &amp;  welcome")
    'Hello & welcome'
    """
    return " ".join(html.unescape(_TAG.sub("", text)).replace("\0", "").split())


def _seconds(text: str) -> float:
    """Read a time: `12.5`, `1:02,5` or `00:14:38,127`; NaN if it is something else.

    >>> _seconds("1:02,5")
    62.5
    """
    match = _CLOCK.match(text.strip())
    if not match:
        return math.nan
    sign, hours, minutes, seconds = match.groups()
    time = 3600 * int(hours or 0) + 60 * int(minutes or 0) + float(seconds.replace(",", "."))
    return -time if sign else time


# by suffix; if several files lie next to a recording, the first of this order is used
READERS: dict[str, Callable[[str, Path], list[Utterance]]] = {
    ".srt": _read_srt,
    ".vtt": _read_vtt,
    ".textgrid": _read_textgrid,
    ".csv": _read_csv,
    ".txt": _read_plain,
}
