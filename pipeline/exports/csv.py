"""CSV for spreadsheets and data frames: UTF-8, commas, quoted as in RFC 4180."""

from __future__ import annotations

import csv
import io
from typing import Any

from pipeline.exports.rows import columns, flat_rows, line

__all__ = ["write"]

FORMULA = ("=", "+", "-", "@")


def write(result: dict[str, Any]) -> bytes:
    """Format a result as a table with one row per utterance."""
    names = columns(result)
    table = io.StringIO()
    writer = csv.DictWriter(table, names, lineterminator="\n")
    writer.writerow({name: _cell(name) for name in names})
    for row in flat_rows(result):
        writer.writerow({name: _cell(value) for name, value in row.items()})
    return table.getvalue().encode("utf-8", "replace")


def _cell(value: Any) -> Any:
    """Put a text on one line, so that no spreadsheet takes it for a formula.

    "=…" or "- Hi" gets a leading space, which strip() removes.
    """
    if not isinstance(value, str):
        return value
    text = line(value)
    return " " + text if text.startswith(FORMULA) else text
