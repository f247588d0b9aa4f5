"""Audacity labels: start, end and "SPEAKER [emotion]: text", separated by tabs; import as a label track."""

from __future__ import annotations

from typing import Any

from pipeline.exports.rows import line, speaker_of

__all__ = ["write"]


def write(result: dict[str, Any]) -> bytes:
    return "".join(
        f"{u['start']:.6f}\t{u['end']:.6f}\t{line(speaker_of(u))} [{u['emotion']}]: {line(u['text'])}\n"
        for u in sorted(result["utterances"], key=lambda u: u["start"])
    ).encode("utf-8", "replace")
