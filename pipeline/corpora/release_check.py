"""Check a raw release: what is missing, broken or mis-cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.core.errors import MercError
from pipeline.corpora.iemocap_release import read_iemocap_raw
from pipeline.corpora.meld_release import read_meld_raw
from pipeline.corpora.release import POLICIES, RawCorpus, recognise_release
from pipeline.corpora.splits import describe_counts

__all__ = ["check"]

READERS = {"iemocap": read_iemocap_raw, "meld": read_meld_raw}


def check(root: Path, probe: bool = True) -> dict[str, Any]:
    """Return the counts and findings of IEMOCAP_full_release or MELD.Raw, as JSON-able content.

    Args:
        probe: open every clip to find broken and mis-cut ones.

    Raises MercError for any other folder.

    Example::

        check(Path("MELD.Raw"))["complete"]
    """
    if not root.is_dir():
        raise MercError(f"{root}: no such folder", "name IEMOCAP_full_release or MELD.Raw")
    name = recognise_release(root)
    if name is None:
        raise MercError(
            f"{root}: neither IEMOCAP (Session1/dialog/transcriptions) nor MELD "
            "(train_sent_emo.csv, dia0_utt0.mp4) is below this folder",
            "unpack its archives, or name another folder",
        )
    corpus: RawCorpus = READERS[name](root, probe)
    findings = []
    for finding in corpus.findings:
        findings.append(
            {
                "kind": finding.kind,
                "item": finding.item,
                "detail": finding.detail,
                "policy": POLICIES[finding.kind],
                "needed": finding.blocking,
            }
        )
    return {
        "path": str(root),
        "dataset": name,
        "complete": not any(finding.blocking for finding in corpus.findings),
        "counts": {split: list(pair) for split, pair in corpus.counts().items()},
        "against": describe_counts(name, corpus.counts()),
        "classes": corpus.classes(),
        "usable_clips": sum(u.clip is not None for u in corpus.utterances),
        "utterances": len(corpus.utterances),
        "notes": corpus.notes,
        "probed": probe,
        "findings": findings,
    }
