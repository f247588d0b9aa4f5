"""CSV that Excel reads: a byte order mark, and no cell that a spreadsheet takes for a formula."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.spreadsheet import csv_bytes

INVISIBLE = ["", "\u200b", "\ufeff", "\u00ad", "\u2060\u200d", "\u3164", "\u0301", "\u202e"]


@pytest.mark.parametrize("before", INVISIBLE)
@pytest.mark.parametrize("sign", "=+-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b")
def test_formulas_are_neutral(before: str, sign: str) -> None:
    text = csv_bytes([f"{before}{sign}h"], [[f"{before}{sign}cmd|' /C calc'!A0"]]).decode("utf-8")
    assert text[0] == "\ufeff"
    for (cell,) in csv.reader(io.StringIO(text[1:])):
        assert cell[0] == " " and cell[1:].startswith(f"{before}{sign}")


@given(rows=st.lists(st.tuples(st.text(), st.text()), max_size=5))
def test_cells_come_back(rows: list[tuple[str, str]]) -> None:
    one_line = [[" ".join(cell.split()) for cell in row] for row in rows]
    text = csv_bytes(["a", "b"], one_line).decode("utf-8-sig")
    back = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text, newline=""))]
    assert back[1:] == [[c.encode("utf-8", "replace").decode() for c in row] for row in one_line]


def test_numbers_stay_numbers() -> None:
    assert csv_bytes(["x"], [[-1.5]]).decode("utf-8-sig") == "x\n-1.5\n"
