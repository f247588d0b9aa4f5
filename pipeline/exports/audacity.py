"""Audacity labels: start, end and "SPEAKER [emotion]: text", separated by tabs.

In Audacity: File, Import, Labels.
"""

from __future__ import annotations

from typing import Any

from pipeline.exports.escapes import escape
from pipeline.exports.rows import head_of, line

__all__ = ["write"]


def write(result: dict[str, Any]) -> bytes:
    """Format a result as a label track."""
    lines = []
    for utterance in sorted(result["utterances"], key=lambda u: u["start"]):
        label = f"{head_of(utterance)} {escape(line(utterance['text']))}".rstrip()
        lines.append(f"{utterance['start']:.6f}\t{utterance['end']:.6f}\t{label}\n")
    return "".join(lines).encode("utf-8", "replace")
