"""JSON, JSON Lines and Parquet: merc's own results, and those of Whisper and WhisperX."""

from __future__ import annotations

import io
import json
from typing import Any

from pipeline.core.dialogue import Utterance
from pipeline.segmentation.transcripts.columns import read_table
from pipeline.segmentation.transcripts.source import Source, TranscriptError

__all__ = ["read_json", "read_jsonl", "read_parquet"]

LISTS = ("utterances", "segments", "chunks", "results")
DEEPEST = "nested too deeply"


def read_json(source: Source) -> list[Utterance]:
    """Read an object with a list of utterances or segments, or such a list."""
    content = _parse(source.text, source, "")
    if isinstance(content, dict):
        content = next((content[key] for key in LISTS if isinstance(content.get(key), list)), None)
    return _read(content, source)


def read_jsonl(source: Source) -> list[Utterance]:
    """Read one utterance per line."""
    rows = []
    for number, line in enumerate(source.text.split("\n"), 1):
        if line.strip():
            rows.append(_parse(line, source, f", line {number}"))
    return _read(rows, source)


def read_parquet(source: Source) -> list[Utterance]:
    """Read a table with one row per utterance."""
    import pyarrow
    from pyarrow import parquet

    try:
        rows = parquet.read_table(io.BytesIO(source.data)).to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise TranscriptError(
            f"{source.path}: not a readable Parquet file: {error}", "write it again"
        ) from error
    return _read(rows, source)


def _parse(text: str, source: Source, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = DEEPEST if isinstance(error, RecursionError) else str(error)
        raise TranscriptError(
            f"{source.path}{place}: not readable as JSON: {reason}",
            "write it again, or use another format",
        ) from error


def _read(rows: Any, source: Source) -> list[Utterance]:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise TranscriptError(
            f"{source.path}: no list of utterances in this file",
            'provide {"utterances": [{"start": …, "end": …, "speaker": …, "text": …}]}',
        )
    names = list(dict.fromkeys(str(name) for row in rows for name in row))
    if not rows:
        return []
    simple = (str, int, float)
    rows = [{k: v if isinstance(v, simple) else None for k, v in row.items()} for row in rows]
    return read_table(names, rows, source)
