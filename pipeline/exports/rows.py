"""What several formats share: clean lines, one tier per speaker, flat rows."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any

from pipeline.core.dialogue import MODALITIES

__all__ = ["Span", "columns", "flat_rows", "line", "speaker_of", "tier_names", "tiers"]

PLAIN = ("start", "end", "speaker", "text", "emotion", "confidence")
NOT_IN_XML = "\ufffe\uffff"


@dataclass
class Span:
    """An utterance on its speaker's tier.

    start and end are in milliseconds. start < end, and a span ends before the next one starts.
    """

    start: int
    end: int
    text: str
    emotion: str


def line(text: str) -> str:
    """Put a text on one line.

    White space is collapsed. Control characters and lone surrogates, which XML forbids, are
    removed.
    """
    return " ".join("".join(c for c in text if c.isspace() or _is_printable(c)).split())


def _is_printable(c: str) -> bool:
    return unicodedata.category(c) not in ("Cc", "Cs") and c not in NOT_IN_XML


def speaker_of(utterance: dict[str, Any]) -> str:
    """Return the speaker on one line, or "unknown"."""
    return line(utterance["speaker"]) or "unknown"


def tiers(result: dict[str, Any]) -> dict[str, list[Span]]:
    """Return the spans of each speaker in order of time; speakers in order of appearance.

    Annotation tools forbid overlaps in a tier. Where utterances of one speaker overlap, the
    earlier one ends when the later one starts. If both start together, the second starts when the
    first ends.
    """
    spans_of: dict[str, list[Span]] = {}
    for utterance in sorted(result["utterances"], key=lambda u: (u["start"], u["end"])):
        spans = spans_of.setdefault(speaker_of(utterance), [])
        start, end = round(1000 * utterance["start"]), round(1000 * utterance["end"])
        if spans and start < spans[-1].end:
            if start > spans[-1].start:
                spans[-1].end = start
            else:
                start = spans[-1].end
        text = line(utterance["text"])
        spans.append(Span(start, max(end, start + 1), text, utterance["emotion"]))
    return spans_of


def tier_names(speakers: list[str]) -> dict[str, tuple[str, str]]:
    """Name the text tier and the emotion tier of each speaker; all names differ.

    >>> tier_names(["Ann", "emotion@Ann"])["Ann"]
    ('Ann', "emotion@Ann'")
    """
    used: set[str] = set()

    def unique(name: str) -> str:
        while name in used:
            name += "'"
        used.add(name)
        return name

    text_tiers = {speaker: unique(speaker) for speaker in speakers}
    return {speaker: (text_tiers[speaker], unique(f"emotion@{speaker}")) for speaker in speakers}


def columns(result: dict[str, Any]) -> list[str]:
    """Return the keys of `flat_rows` in order."""
    probabilities = [f"p_{label}" for label in result["labels"]]
    return [*PLAIN, *probabilities, *(f"has_{modality}" for modality in MODALITIES)]


def flat_rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one flat dict per utterance, with `p_<label>` and `has_<modality>`."""
    rows = []
    for utterance in result["utterances"]:
        row = {key: utterance[key] for key in PLAIN}
        for label in result["labels"]:
            row[f"p_{label}"] = utterance["probabilities"][label]
        for modality in MODALITIES:
            row[f"has_{modality}"] = utterance["modalities"].get(modality, {}).get("present", False)
        rows.append(row)
    return rows
