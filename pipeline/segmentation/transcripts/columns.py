"""Tables of utterances: find the columns by their names, and read the times in their units."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.core.dialogue import Utterance
from pipeline.segmentation.transcripts.clock import FrameRateNeeded, is_of_day, seconds
from pipeline.segmentation.transcripts.column_names import EMOTIONS, ROLES, ColumnName
from pipeline.segmentation.transcripts.cue import frames_unreadable
from pipeline.segmentation.transcripts.markup import one_line
from pipeline.segmentation.transcripts.sounds import without_sounds
from pipeline.segmentation.transcripts.source import Source, TranscriptError
from pipeline.segmentation.transcripts.unused_columns import check_unused

__all__ = ["is_own", "read_table"]

Row = Mapping[str, Any]
Columns = dict[str, ColumnName]

# names of times that also mean a sender, a receiver or a place, unless the cells have digits
_VAGUE = frozenset("from to in out von ab bis dalle alle ate desde hasta till until".split())
_CORPUS = frozenset(["dialogue", "dialogueid", "utteranceid", "label", "split"])
_SPAN = re.compile(r"\s*(\S.*?)\s*(?:-{1,2}>|[-–—]|\bto\b|\bbis\b)\s*(\S.*)")


def read_table(names: Sequence[str], rows: Sequence[Row], source: Source) -> list[Utterance]:
    """Read the rows of a table.

    A row is used as it is: the text keeps brackets and angle brackets. A text that only describes
    a sound is left out, unless the table is a corpus with labels or ids. Without an end, an
    utterance ends where its duration says or where the next one starts.
    """
    parsed = [ColumnName.parse(name) for name in names]
    own = is_own(names)
    columns = _find_columns(parsed, rows, source)
    unused = [column for column in parsed if column not in columns.values()]
    if any(c.key == "dialogueid" and len({row.get(c.name) for row in rows}) > 1 for c in unused):
        raise TranscriptError(
            f"{source.path}: holds several dialogues",
            "keep only the rows of this recording, with times counted from its start",
        )
    labels = [column.name for column in unused if column.key in EMOTIONS]
    corpus = bool(labels) or any(column.key in _CORPUS for column in unused)
    if labels:
        source.ignore_emotions(f"column {', '.join(labels)}")
    if not own:
        check_unused(columns, [c for c in unused if c.name not in labels], rows, source)
    source.unit_known = own or any(column.unit for column in columns.values())
    utterances = []
    for row in rows:
        text = one_line(_cell(row, columns.get("text")))
        speaker = one_line(_cell(row, columns.get("speaker")))
        if not text and not own:
            if any(one_line(str(value)) for value in row.values() if value is not None):
                source.leave_out("rows without text", _line(row))
            continue
        if text and not corpus and not without_sounds(text):
            source.leave_out("sounds or music, not words", text)
            continue
        start, end, readable = _times(row, columns, source)
        if readable:
            utterances.append(Utterance(start, end, text, speaker))
        else:
            source.leave_out("their times cannot be read", _line(row))
    _check_times(utterances, columns, source)
    return utterances


def is_own(names: Sequence[str]) -> bool:
    """Whether merc wrote the table: it has an emotion and its probabilities."""
    return {"emotion", "confidence"} <= set(names)


def _find_columns(names: list[ColumnName], rows: Sequence[Row], source: Source) -> Columns:
    columns: Columns = {}
    for role, fits in (
        ("text", _has_letters),
        ("start", _has_times),
        ("end", _has_times),
        ("duration", _has_times),
        ("speaker", _is_filled),
    ):
        known = ROLES[role]
        candidates = [c for c in names if c.key in known and c not in columns.values()]
        candidates.sort(key=lambda column: known.index(column.key))
        sure = [c for c in candidates if c.key not in _VAGUE or _is_filled(c, rows, r"\d|^$")]
        chosen = next((c for c in candidates if fits(c, rows)), None)
        if chosen or sure:
            columns[role] = chosen or sure[0]
    if "start" not in columns and "end" in columns and columns["end"].key == "offset":
        columns["start"] = columns.pop("end")  # an offset from the start of the recording
    if "start" not in columns and not {"end", "duration"} <= set(columns):
        columns.pop("duration", None)
    if "text" not in columns:
        raise TranscriptError(
            f"{source.path}: no text column; the columns are "
            f"{', '.join(column.name[:20] for column in names[:12])}",
            "name the columns start,end,speaker,text, or provide text alone",
        )
    return columns


def _filled(column: ColumnName, rows: Sequence[Row]) -> list[str]:
    return [cell for row in rows if (cell := _cell(row, column).strip())]


def _is_filled(column: ColumnName, rows: Sequence[Row], pattern: str = "") -> bool:
    return any(re.search(pattern, cell) for cell in _filled(column, rows))


def _has_letters(column: ColumnName, rows: Sequence[Row]) -> bool:
    """Whether at least half of the cells have letters: a number counts the lines."""
    cells = _filled(column, rows)
    return bool(cells) and 2 * sum(any(map(str.isalpha, cell)) for cell in cells) >= len(cells)


def _has_times(column: ColumnName, rows: Sequence[Row]) -> bool:
    """Whether at least half of the cells are times, or spans such as 0:01-0:04."""
    cells = _filled(column, rows)
    times = sum(math.isfinite(_span(cell, 30.0)[0]) for cell in cells)
    return bool(cells) and 2 * times >= len(cells)


def _span(cell: str, frame_rate: float | None) -> tuple[float, float]:
    """Read a time, or two of them with a dash or an arrow between; else NaN."""
    start = seconds(cell, frame_rate)
    match = None if math.isfinite(start) else _SPAN.fullmatch(cell[:100])
    if match:
        start, end = seconds(match[1], frame_rate), seconds(match[2], frame_rate)
        return (start, end) if math.isfinite(start + end) else (math.nan, math.nan)
    return start, math.nan


def _cell(row: Row, column: ColumnName | None) -> str:
    value = row.get(column.name) if column else None
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else str(value)


def _line(row: Row) -> str:
    return " ".join(str(value) for value in row.values() if value is not None)


def _times(row: Row, columns: Columns, source: Source) -> tuple[float, float, bool]:
    """Return start, end, and whether they can be read. Empty cells are NaN and can be read."""
    values = dict.fromkeys(("start", "end", "duration"), math.nan)
    readable = True
    for role in [role for role in values if role in columns]:
        cell = _cell(row, columns[role]).strip()
        if not cell:
            continue
        try:
            first, last = _span(cell, source.frame_rate)
        except FrameRateNeeded as error:
            where = f"column {columns[role].name!r}"
            raise frames_unreadable(source, cell, where) from error
        readable = readable and math.isfinite(first)
        clock = ":" in cell
        source.of_day = source.of_day or is_of_day(cell)
        source.unit_known = source.unit_known or clock
        unit = 1.0 if clock else columns[role].unit or 1.0
        values[role] = first * unit
        if role == "start" and "end" not in columns and "duration" not in columns:
            values["end"] = last * unit
    start, end, duration = values.values()
    start = end - duration if math.isnan(start) else start
    end = start + duration if math.isnan(end) else end
    return start, end, readable and (not math.isnan(start) or math.isnan(end))


def _check_times(utterances: list[Utterance], columns: Columns, source: Source) -> None:
    """Raise TranscriptError if the file has times and none of them can be read."""
    unreadable = source.left_out.get("their times cannot be read", [])
    if unreadable and not any(math.isfinite(u.start) for u in utterances):
        names = [columns[role].name for role in ("start", "end", "duration") if role in columns]
        raise TranscriptError(
            f"{source.path}: no time in column {', '.join(map(repr, names))} can be read, "
            f"the first row is {unreadable[0][:60]!r}",
            "write times in seconds, or as hh:mm:ss.mmm",
        )
