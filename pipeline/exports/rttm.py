"""RTTM: who spoke when (NIST 2009). The format has no field for text or emotion."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from pipeline.exports.escapes import escape_name
from pipeline.exports.rows import line

__all__ = ["write"]


def write(result: dict[str, Any]) -> bytes:
    """Format the turns of a result, one per line."""
    recording = _field(PurePath(result["media"]).stem)
    lines = []
    for utterance in sorted(result["utterances"], key=lambda u: u["start"]):
        start = max(0, round(1000 * utterance["start"]))  # ms
        duration = max(1, round(1000 * utterance["end"]) - start)
        times = f"{start / 1000:.3f} {duration / 1000:.3f}"
        name = line(utterance["speaker"])
        name = name.strip("<>") if name.casefold() == "<na>" else name  # which means no value
        speaker = _field(escape_name(name, syntax=False))
        lines.append(f"SPEAKER {recording} 1 {times} <NA> <NA> {speaker} <NA> <NA>\n")
    return "".join(lines).encode("utf-8", "replace")


def _field(text: str) -> str:
    """Replace white space, which separates the fields, by underscores."""
    field = "_".join(line(text).split())
    return "unknown" if field.casefold() in ("", "<na>") else field
