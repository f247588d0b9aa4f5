"""JSON, JSON Lines and Parquet: merc's own results, and those of Whisper and WhisperX."""

from __future__ import annotations

import io
import json
from typing import Any

from pipeline.core.dialogue import Utterance
from pipeline.segmentation.transcripts.columns import read_table
from pipeline.segmentation.transcripts.source import Source, TranscriptError, shorten

__all__ = ["read_json", "read_jsonl", "read_parquet"]

LISTS = ("utterances", "segments", "audio_segments", "chunks", "results")
INSIDE = ("results", "result", "transcript", "transcription", "data")  # objects with such a list
DEEPEST = "lists and objects are nested too deeply"
AGAIN = "write the file again, or provide another format, such as .srt"


def read_json(source: Source) -> list[Utterance]:
    """Read an object with a list of utterances or segments, or such a list."""
    content = _parse(source.text, source)
    if isinstance(content, dict):
        inner = [content[key] for key in INSIDE if isinstance(content.get(key), dict)]
        lists = [part[key] for part in (content, *inner) for key in LISTS if key in part]
        content = next((part for part in lists if isinstance(part, list)), None)
    return _read(content, source)


def read_jsonl(source: Source) -> list[Utterance]:
    """Read one utterance per line."""
    rows = []
    for number, line in enumerate(source.text.split("\n"), 1):
        if line.strip():
            rows.append(_parse(line, source, number))
    return _read(rows, source)


def _of_recording(rows: list[dict[str, Any]], source: Source) -> list[dict[str, Any]]:
    """Choose the rows of the recording: merc's name theirs, and files can be concatenated."""
    names = [row.get("media") for row in rows]
    known = dict.fromkeys(name for name in names if isinstance(name, str))
    if len(known) < 2:
        return rows
    if source.recording not in known:
        some = ", ".join(shorten(name) for name in list(known)[:5])
        wanted = f", but none named {source.recording}" if source.recording else ""
        raise TranscriptError(
            f"{source.path}: holds {len(known)} recordings ({some}){wanted}",
            "give each recording a file of its own",
        )
    source.warn(
        f"holds {len(known)} recordings; only the utterances of {source.recording} are used"
    )
    return [row for row, name in zip(rows, names, strict=True) if name == source.recording]


def read_parquet(source: Source) -> list[Utterance]:
    """Read a table with one row per utterance."""
    import pyarrow
    from pyarrow import parquet

    try:
        rows = parquet.read_table(io.BytesIO(source.data)).to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise TranscriptError(
            f"{source.path}: not a readable Parquet file: damaged or cut short", AGAIN
        ) from error
    return _read(rows, source)


def _parse(text: str, source: Source, line: int = 0) -> Any:
    """Parse a file, or one line of JSON Lines."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {line or error.lineno}, column {error.colno}"
        rest = text[error.pos :].strip()
        reason = f"unexpected {shorten(rest[:20])!r}" if rest else "the file ends too early"
        raise TranscriptError(
            f"{source.path}: not valid JSON at {where}: {reason}", AGAIN
        ) from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits
        reason = DEEPEST if isinstance(error, RecursionError) else "a number is too long"
        where = f", line {line}" if line else ""
        raise TranscriptError(f"{source.path}{where}: {reason}", AGAIN) from error


def _read(rows: Any, source: Source) -> list[Utterance]:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise TranscriptError(
            f"{source.path}: no list of utterances in this file",
            'provide {"utterances": [{"start": …, "end": …, "speaker": …, "text": …}]}',
        )
    rows = [_with_span(row) for row in _of_recording(rows, source)]
    names = list(dict.fromkeys(str(name) for row in rows for name in row))
    if not rows:
        return []
    simple = (str, int, float)
    rows = [{k: v if isinstance(v, simple) else None for k, v in row.items()} for row in rows]
    return read_table(names, rows, source)


def _with_span(row: dict[str, Any]) -> dict[str, Any]:
    """Split a time span, such as `"timestamp": [0.5, 1.2]` of Hugging Face's Whisper."""
    for key in ("timestamp", "timestamps", "time", "span"):
        span = row.get(key)
        if isinstance(span, list) and len(span) == 2 and not {"start", "end"} & set(row):
            return {**row, "start": span[0], "end": span[1], key: None}
    return row
