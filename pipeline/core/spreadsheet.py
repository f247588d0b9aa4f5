"""CSV that spreadsheets read as it is meant: UTF-8 with a byte order mark, and no formulas.

Excel takes a CSV file without a byte order mark for the code page of its country, and a cell that
begins with =, +, - or @ for a formula, which can start programs.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["check_width", "csv_bytes", "csv_text"]

MAX_COLUMNS = 1000

FORMULA = "=+-@"
# letters and symbols that look like nothing: Hangul fillers, the braille pattern without dots
BLANK = "\u115f\u1160\u3164\uffa0\u2800"


def csv_bytes(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """Format a table: UTF-8 with a byte order mark, commas, quoted as in RFC 4180.

    A text that a spreadsheet would take for a formula gets a leading space, which strip() removes.

    >>> csv_bytes(["text"], [["=1+1"], [-1.5]]).decode("utf-8-sig").split()
    ['text', '=1+1', '-1.5']
    """
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    for row in (header, *rows):
        writer.writerow([_neutral(value) for value in row])
    return table.getvalue().encode("utf-8-sig", "replace")


def csv_text(cell: str) -> str:
    """Return the text that `csv_bytes` wrote as this cell.

    >>> csv_text(" =1+1"), csv_text(" a")
    ('=1+1', ' a')
    """
    return cell[1:] if cell.startswith(" ") and _is_formula(cell) else cell


def check_width(path: Path) -> None:
    """Raise ValueError if the first line of a CSV file has more than 1000 columns.

    pandas takes minutes for thousands of columns, and longer if their names repeat.
    """
    with open(path, "rb") as file:
        columns = file.readline(1 << 20).count(b",") + 1
    if columns > MAX_COLUMNS:
        raise ValueError(f"{columns} columns")


def _neutral(value: Any) -> Any:
    if not isinstance(value, str) or not _is_formula(value):
        return value
    return f" {value}"


def _is_formula(text: str) -> bool:
    """Say whether the first visible character, full-width or not, begins a formula."""
    for c in text:
        if c in BLANK or unicodedata.category(c) in ("Cc", "Cf", "Cn", "Cs", "Me", "Mn", "Zs"):
            continue
        return unicodedata.normalize("NFKC", c)[:1] in tuple(FORMULA)
    return False
