"""MELD's transcripts, from $MERC_SHARED or the folder `shared` next to the checkout."""

from __future__ import annotations

import csv
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def meld_rows(part: str) -> list[dict[str, str]]:
    """Read MELD's transcripts of one part: train or dev."""
    shared = Path(os.environ.get("MERC_SHARED", ROOT.parent / "shared"))
    path = shared / "data" / "meld" / f"{part}_sent_emo.csv"
    if not path.is_file():
        raise SystemExit(f"{path}: no such file; set MERC_SHARED to the folder of data/meld")
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
