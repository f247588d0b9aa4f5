"""Tables of utterances: find the columns by their names, and read the times in their units."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.core.dialogue import Utterance
from pipeline.segmentation.transcripts.clock import FrameRateNeeded, seconds
from pipeline.segmentation.transcripts.cue import frames_unreadable
from pipeline.segmentation.transcripts.markup import one_line
from pipeline.segmentation.transcripts.source import Source, TranscriptError

__all__ = ["is_own", "read_table"]

COLUMNS = {
    "start": ("start", "starttime", "begin", "begintime", "onset", "from", "in", "timestamp"),
    "end": ("end", "endtime", "stop", "stoptime", "offset", "to", "out"),
    "duration": ("duration", "dur", "length"),
    "speaker": ("speaker", "speakerid", "speakername", "name", "who", "speakerlabel"),
    "text": (
        "text",
        "utterance",
        "transcript",
        "transcription",
        "sentence",
        "content",
        "words",
        "caption",
    ),
}
_UNITS = {"ms": 0.001, "msec": 0.001, "milliseconds": 0.001, "millis": 0.001}
MAX_NAME = 100  # characters; a longer name has no unit
_UNIT = re.compile(r"[ _(\[]*(ms|msec|milliseconds|millis|s|sec|seconds)[)\]]*$", re.IGNORECASE)
_WORDS = {"start", "end", "duration", "dur", "begin", "onset", "offset", "time"}


@dataclass(frozen=True)
class _Column:
    name: str  # as the file writes it
    unit: float  # s


def read_table(
    names: Sequence[str], rows: Sequence[Mapping[str, Any]], source: Source
) -> list[Utterance]:
    """Read the rows of a table.

    A row is used as it is: the text keeps brackets and angle brackets. Without an end, an utterance
    ends where its duration says or where the next one starts.
    """
    columns = _find_columns(names, source)
    dialogue = next((name for name in names if _key(name) == "dialogueid"), None)
    if dialogue is not None and len({row.get(dialogue) for row in rows}) > 1:
        raise TranscriptError(
            f"{source.path}: holds several dialogues",
            "keep only the rows of this recording, with times counted from its start",
        )
    source.unit_known = is_own(names) or any(_split_unit(c.name)[1] for c in columns.values())
    utterances = []
    for row in rows:
        text = one_line(_text(row, columns.get("text")))
        speaker = one_line(_text(row, columns.get("speaker")))
        if not text and not is_own(names):
            if any(one_line(str(value)) for value in row.values() if value is not None):
                source.leave_out("rows without text", _line(row))
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


def _find_columns(names: Sequence[str], source: Source) -> dict[str, _Column]:
    columns: dict[str, _Column] = {}
    first: dict[str, str] = {}  # what is compared -> the first column of that name
    for name in names:
        first.setdefault(_key(name), name)
    for role, known in COLUMNS.items():
        for wanted in known:
            found = first.get(wanted)
            if found is not None:
                columns[role] = _Column(found, _unit(found))
                break
    if "start" not in columns and "end" in columns and _key(columns["end"].name) == "offset":
        columns["start"] = columns.pop("end")  # an offset from the start of the recording
    if "text" not in columns:
        raise TranscriptError(
            f"{source.path}: no text column; the columns are "
            f"{', '.join(name[:20] for name in names[:12])}",
            "name the columns start,end,speaker,text, or provide text alone",
        )
    return columns


def _key(name: str) -> str:
    """Reduce a column's name to what is compared: without case, separators and unit."""
    name = _split_unit(name)[0]
    return re.sub(r"[^a-z]", "", name.lower())


def _unit(name: str) -> float:
    return _UNITS.get(_split_unit(name)[1], 1.0)


def _split_unit(name: str) -> tuple[str, str]:
    """Split "start (ms)", "start_ms" and "startMs" into name and unit."""
    match = _UNIT.search(name.strip()) if len(name) <= MAX_NAME else None
    if match:
        stem, unit = name.strip()[: match.start()], match[1]
        separated = len(match[0]) > len(unit) or unit[0].isupper()
        if separated and stem.lower().split("_")[0].split(" ")[0] and _is_time(stem):
            return stem, unit.lower()
    return name, ""


def _is_time(stem: str) -> bool:
    return any(word in stem.lower() for word in _WORDS)


def _text(row: Mapping[str, Any], column: _Column | None) -> str:
    value = row.get(column.name) if column else None
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else str(value)


def _line(row: Mapping[str, Any]) -> str:
    return " ".join(str(value) for value in row.values() if value is not None)


def _times(
    row: Mapping[str, Any], columns: dict[str, _Column], source: Source
) -> tuple[float, float, bool]:
    """Return start, end, and whether they can be read. Empty cells are NaN and can be read."""
    values: dict[str, float] = {}
    readable = True
    for role in ("start", "end", "duration"):
        cell = _text(row, columns.get(role)).strip()
        try:
            value = seconds(cell, source.frame_rate) if cell else math.nan
        except FrameRateNeeded as error:
            where = f"column {columns[role].name!r}"
            raise frames_unreadable(source, cell, where) from error
        readable = readable and (not cell or math.isfinite(value))
        values[role] = value * columns[role].unit if role in columns else value
    if math.isnan(values["end"]):
        values["end"] = values["start"] + values["duration"]
    timed = not math.isnan(values["start"]) or math.isnan(values["end"])
    return values["start"], values["end"], readable and timed


def _check_times(utterances: list[Utterance], columns: dict[str, _Column], source: Source) -> None:
    """Raise TranscriptError if the file has times and none of them can be read."""
    unreadable = source.left_out.get("their times cannot be read", [])
    if unreadable and not any(math.isfinite(u.start) for u in utterances):
        names = [columns[role].name for role in ("start", "end", "duration") if role in columns]
        raise TranscriptError(
            f"{source.path}: no time in column {', '.join(map(repr, names))} can be read, "
            f"the first row is {unreadable[0][:60]!r}",
            "write times in seconds, or as hh:mm:ss.mmm",
        )
