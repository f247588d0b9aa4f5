"""`merc corpus check`: what of a raw release is there, missing, broken, mis-cut."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.corpora.iemocap_release import read_iemocap_raw
from pipeline.corpora.meld_release import read_meld_raw
from pipeline.corpora.release import POLICIES, RawCorpus, recognise_release
from pipeline.corpora.splits import describe_counts

__all__ = ["check", "show"]

READERS = {"iemocap": read_iemocap_raw, "meld": read_meld_raw}
SHOWN = 12  # findings of one kind on the screen; --json has all


def check(root: Path, probe: bool = True) -> dict[str, Any]:
    """Findings and counts of IEMOCAP_full_release or MELD.Raw.  Raises ValueError for any other folder."""
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder; name IEMOCAP_full_release or MELD.Raw")
    name = recognise_release(root)
    if name is None:
        raise ValueError(
            f"{root}: neither IEMOCAP (Session1/dialog/transcriptions) nor MELD (train_sent_emo.csv, "
            "dia0_utt0.mp4) lies below this folder; are its archives unpacked?"
        )
    corpus: RawCorpus = READERS[name](root, probe)
    return {
        "path": str(root),
        "dataset": name,
        "complete": not any(f.blocking for f in corpus.findings),
        "counts": {split: list(pair) for split, pair in corpus.counts().items()},
        "against": describe_counts(name, corpus.counts()),
        "classes": corpus.classes(),
        "usable_clips": sum(u.clip is not None for u in corpus.utterances),
        "utterances": len(corpus.utterances),
        "notes": corpus.notes,
        "probed": probe,
        "findings": [
            {
                "kind": f.kind,
                "item": f.item,
                "detail": f.detail,
                "policy": POLICIES[f.kind],
                "needed": f.blocking,
            }
            for f in corpus.findings
        ],
    }


def show(result: dict[str, Any]) -> None:
    """The table for a person."""
    console = Console(highlight=False)
    table = Table(title=Text(f"{result['dataset']} in {result['path']}"), title_justify="left")
    for column in ("finding", "what", "detail", "what is done", "needed"):
        table.add_column(column, overflow="fold")
    kinds = Counter(f["kind"] for f in result["findings"])
    seen: Counter[str] = Counter()
    for f in sorted(result["findings"], key=lambda f: (not f["needed"], f["kind"])):
        seen[f["kind"]] += 1
        if seen[f["kind"]] <= SHOWN:
            table.add_row(
                f["kind"],
                Text(f["item"]),
                Text(f["detail"]),
                f["policy"],
                "yes" if f["needed"] else "",
            )
        elif seen[f["kind"]] == SHOWN + 1:
            table.add_row(
                f["kind"], f"and {kinds[f['kind']] - SHOWN} more (--json lists all)", "", "", ""
            )
    if result["findings"]:
        console.print(table)
    for line in [*result["against"], *result["notes"]]:
        console.print(Text(line), soft_wrap=True)
    console.print(
        Text(", ".join(f"{label} {count}" for label, count in result["classes"].items())),
        soft_wrap=True,
    )
    console.print(
        f"{result['utterances']} lines, {result['usable_clips']} with a usable clip"
        + ("" if result["probed"] else " (not opened: --no-probe)")
    )
    console.print(
        "Everything the splits need is there."
        if result["complete"]
        else "Something the splits need is absent or broken: see the rows marked yes."
    )
