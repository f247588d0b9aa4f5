"""RTTM, who spoke when (NIST 2009): the format has no field for text or emotion, so it carries neither."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from pipeline.exports.rows import line, speaker_of

__all__ = ["write"]


def write(result: dict[str, Any]) -> bytes:
    medium = _word(PurePath(result["media"]).stem)
    return "".join(
        f"SPEAKER {medium} 1 {start / 1000:.3f} {end / 1000:.3f} <NA> <NA> {_word(speaker_of(utterance))} <NA> <NA>\n"
        for utterance in sorted(result["utterances"], key=lambda u: u["start"])
        for start in [max(0, round(1000 * utterance["start"]))]
        for end in [max(1, round(1000 * utterance["end"]) - start)]
    ).encode("utf-8", "replace")


def _word(text: str) -> str:
    """Fields are separated by spaces."""
    return "_".join(line(text).split()) or "unknown"
