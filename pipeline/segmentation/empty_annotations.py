"""Tell an annotation without utterances from a file that is empty or something else.

`merc label` writes the first for a recording without speech. In SubRip, Audacity labels, JSON Lines
and RTTM it is a file of 0 bytes, which says nothing.
"""

from __future__ import annotations

import csv
import io
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable

from pipeline.segmentation.labels import COLUMNS
from pipeline.segmentation.transcripts.source import Source
from pipeline.segmentation.transcripts.textgrid import read_tiers

__all__ = ["holds_no_utterances"]


def holds_no_utterances(source: Source) -> bool:
    """Return whether a file in which no utterance was found is an annotation that has none.

    The transcript reader must have read the whole file before, without leaving anything out.
    """
    check = CHECKS.get(source.path.suffix.lower())
    return check is not None and not source.is_blank and check(source)


def _eaf(source: Source) -> bool:
    root = ET.fromstring(source.data)
    return root.tag == "ANNOTATION_DOCUMENT" and root.find("TIER//ANNOTATION") is None


def _textgrid(source: Source) -> bool:
    tiers = read_tiers(source)
    return bool(tiers) and not any(tier.filled or tier.points for tier in tiers)


def _vtt(source: Source) -> bool:
    return source.text.startswith("WEBVTT")


def _csv(source: Source) -> bool:
    rows = list(filter(None, csv.reader(io.StringIO(source.text))))
    return len(rows) == 1 and _has_columns(rows[0])


def _parquet(source: Source) -> bool:
    from pyarrow import parquet

    table = parquet.read_table(io.BytesIO(source.data))
    return not table.num_rows and _has_columns(table.column_names)


def _has_columns(names: Iterable[str]) -> bool:
    known = {name.strip().lower() for name in names}
    return {"start", "end", "text"} <= known and not known.isdisjoint(COLUMNS)


CHECKS: dict[str, Callable[[Source], bool]] = {
    ".eaf": _eaf,
    ".textgrid": _textgrid,
    ".vtt": _vtt,
    ".csv": _csv,
    ".parquet": _parquet,
}
