"""Columns of a table that are not used: name them, and refuse times that would be lost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from pipeline.segmentation.transcripts.clock import seconds
from pipeline.segmentation.transcripts.column_names import ColumnName
from pipeline.segmentation.transcripts.source import Source, TranscriptError, shorten

__all__ = ["check_unused"]

MOST = 0.8  # share of the cells that are times, and of the pairs of rows that grow


def check_unused(
    columns: Mapping[str, ColumnName],
    unused: Sequence[ColumnName],
    rows: Sequence[Mapping[str, Any]],
    source: Source,
) -> None:
    """Name every column that is not used and not empty in a warning.

    columns: role ("start", "speaker", ...) -> column.

    Raises TranscriptError if times are not complete, and an unused column seems to hold them.
    """
    filled = {column.name: _cells(column, rows) for column in unused}
    filled = {name: cells for name, cells in filled.items() if cells}
    start = "start" in columns or {"end", "duration"} <= set(columns)
    spans = start and not {"end", "duration"}.isdisjoint(columns)
    times = [] if spans else [name for name, cells in filled.items() if _are_times(cells)]
    if times:
        wanted = "end" if start else "start" if "end" in columns else "start and end"
        raise TranscriptError(
            f"{source.path}: {_named(times)}: probably times, but merc does not know the name",
            f"rename what holds times to {wanted}, and remove what holds other growing numbers",
        )
    if "end" in columns and not start:
        raise TranscriptError(
            f"{source.path}: {_named([columns['end'].name])} holds ends, but no column holds "
            "starts",
            "name the columns start,end,speaker,text",
        )
    if filled:
        advice = "" if "speaker" in columns else "; if one holds the speakers, rename it to speaker"
        source.warn(f"not used: {_named(filled)}{advice}")


def _named(names: Sequence[str] | Mapping[str, Any]) -> str:
    listed = ", ".join(repr(shorten(name)) if name else "(without a name)" for name in names)
    return f"{'column' if len(names) == 1 else 'columns'} {listed}"


def _cells(column: ColumnName, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    values = (row.get(column.name) for row in rows)
    return [cell for value in values if value is not None and (cell := str(value).strip())]


def _are_times(cells: Sequence[str]) -> bool:
    """Whether most cells are times that grow; numbers that count the rows are none."""
    times = [seconds(cell, 30.0) for cell in cells]
    known = [time for time in times if math.isfinite(time)]
    if len(known) < MOST * len(cells):
        return False
    if 2 * sum(":" in cell for cell in cells) > len(cells):
        return True
    steps = [b - a for a, b in pairwise(known)]
    if not steps:
        return known[0] != round(known[0])
    growing = sum(step >= 0 for step in steps) >= MOST * len(steps) and known[-1] > known[0]
    whole = all(time == round(time) for time in known)
    return growing and not (whole and all(step in (0, 1) for step in steps))
