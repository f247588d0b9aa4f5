"""Tables written row by row."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

__all__ = ["write_table"]

HEADER = ("dialogue", "utterance", "speaker", "text", "label", "split")


def write_table(folder: Path, rows: Sequence[tuple[object, ...]]) -> Path:
    """Write utterances.csv; rows as in HEADER."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "utterances.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([HEADER, *rows])
    return folder
