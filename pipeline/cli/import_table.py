"""`merc import`: a published feature file into a table, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.corpora.published import read_published
from pipeline.corpora.table import save_table

__all__ = ["import_file", "show"]


def import_file(file: Path, out: Path, text: str = "r1", overwrite: bool = False) -> dict[str, Any]:
    """Read a published file and write its table; returns what was found.

    Raises ValueError or OSError with the file, the dialogue and what to do; writes nothing then.
    """
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out}: is a file; --out names a folder")
    if out.is_dir() and any(out.iterdir()) and not overwrite:
        raise FileExistsError(f"{out}: holds files already; name a new folder or add --overwrite")
    found = read_published(file, text)
    if overwrite:  # an array of the table before, for a modality that this file lacks, would be taken for its own
        for name in (
            "text.npy",
            "audio.npy",
            "visual.npy",
            "fingerprints.json",
            "table.json",
            "utterances.csv",
        ):
            (out / name).unlink(missing_ok=True)
    save_table(found.corpus, out)
    return {
        "table": str(out),
        "layout": found.layout.name,
        "dataset": found.corpus.name,
        "widths": dict(found.corpus.widths),
        "text": found.corpus.fingerprints["text"]["field"]
        if found.corpus.fingerprints
        else "unknown",
        "notes": found.notes,
    }


def show(result: dict[str, Any]) -> None:
    """What was found, for a person."""
    widths = ", ".join(f"{modality} {width}" for modality, width in result["widths"].items())
    print(f"{result['dataset']} in {result['layout']}'s layout: {widths} (text: {result['text']})")
    for note in result["notes"]:
        print(f"  {note}")
    print(
        f"{result['table']}: train on it with merc train --dataset {result['dataset']} --data {result['table']}"
    )
