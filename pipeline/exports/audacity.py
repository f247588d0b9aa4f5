"""Audacity labels: start, end and "SPEAKER [emotion]: text", separated by tabs.

In Audacity: File, Import, Labels.
"""

from __future__ import annotations

from typing import Any

from pipeline.exports.rows import line, speaker_of

__all__ = ["write"]


def write(result: dict[str, Any]) -> bytes:
    """Format a result as a label track."""
    lines = []
    for utterance in sorted(result["utterances"], key=lambda u: u["start"]):
        label = f"{speaker_of(utterance)} [{utterance['emotion']}]: {line(utterance['text'])}"
        lines.append(f"{utterance['start']:.6f}\t{utterance['end']:.6f}\t{label}\n")
    return "".join(lines).encode("utf-8", "replace")
