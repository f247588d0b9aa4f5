"""CSV for spreadsheets and data frames: UTF-8 with a byte order mark, commas, RFC 4180."""

from __future__ import annotations

from typing import Any

from pipeline.core.spreadsheet import csv_bytes
from pipeline.exports.rows import columns, flat_rows, line

__all__ = ["write"]


def write(result: dict[str, Any]) -> bytes:
    """Format a result as a table with one row per utterance."""
    names = columns(result)
    rows = [[_cell(row[name]) for name in names] for row in flat_rows(result)]
    return csv_bytes([line(name) for name in names], rows)


def _cell(value: Any) -> Any:
    return line(value) if isinstance(value, str) else value
