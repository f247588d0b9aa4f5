"""CSV for spreadsheets and data frames: UTF-8, comma, RFC 4180 quotes."""

from __future__ import annotations

import csv
import io
from typing import Any

from pipeline.exports.rows import flat_rows, line

__all__ = ["write"]

FORMULA = ("=", "+", "-", "@")


def write(result: dict[str, Any]) -> bytes:
    head = [
        "start",
        "end",
        "speaker",
        "text",
        "emotion",
        "confidence",
        *(f"p_{label}" for label in result["labels"]),
        "has_text",
        "has_audio",
        "has_visual",
    ]
    table = io.StringIO()
    writer = csv.DictWriter(table, head, lineterminator="\n")
    writer.writerow({name: _cell(name) for name in head})
    for row in flat_rows(result):
        writer.writerow(
            {key: _cell(value) if isinstance(value, str) else value for key, value in row.items()}
        )
    return table.getvalue().encode("utf-8", "replace")


def _cell(text: str) -> str:
    """One line; what a spreadsheet would run as a formula ("=…", "- Hi") gets a leading space, which strip() undoes."""
    text = line(text)
    return " " + text if text.startswith(FORMULA) else text
