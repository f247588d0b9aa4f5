"""What several formats share: clean lines, tiers of one speaker, flat rows."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any

NO_XML = "\ufffe\uffff"

__all__ = ["Span", "flat_rows", "line", "speaker_of", "tiers", "tier_names"]


@dataclass
class Span:
    """One utterance on its speaker's tier; start < end in milliseconds, never overlapping the next."""

    start: int
    end: int
    text: str
    emotion: str


def line(text: str) -> str:
    """One line: white space collapsed; control characters and lone surrogates, which XML forbids, dropped."""
    return " ".join("".join(c for c in text if c.isspace() or _shown(c)).split())


def _shown(c: str) -> bool:
    return unicodedata.category(c) not in ("Cc", "Cs") and c not in NO_XML


def speaker_of(utterance: dict[str, Any]) -> str:
    return line(utterance["speaker"]) or "unknown"


def tiers(result: dict[str, Any]) -> dict[str, list[Span]]:
    """Speaker -> spans in order of time, speakers by first appearance.

    Annotation tools forbid overlap inside a tier: where one speaker's utterances overlap, the earlier ends as the
    later begins; of two that begin together, the later begins as the earlier ends.
    """
    found: dict[str, list[Span]] = {}
    for utterance in sorted(result["utterances"], key=lambda u: (u["start"], u["end"])):
        spans = found.setdefault(speaker_of(utterance), [])
        start, end = round(1000 * utterance["start"]), round(1000 * utterance["end"])
        if spans and start < spans[-1].end:
            if start > spans[-1].start:
                spans[-1].end = start
            else:
                start = spans[-1].end
        spans.append(
            Span(start, max(end, start + 1), line(utterance["text"]), utterance["emotion"])
        )
    return found


def tier_names(speakers: list[str]) -> dict[str, tuple[str, str]]:
    """Speaker -> names of the text tier and of its emotion tier, all different."""
    taken: set[str] = set()

    def free(name: str) -> str:
        while name in taken:
            name += "'"
        taken.add(name)
        return name

    plain = {speaker: free(speaker) for speaker in speakers}
    return {speaker: (plain[speaker], free(f"emotion@{speaker}")) for speaker in speakers}


def flat_rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    """A row an utterance: what was said, the emotion, `p_<label>` and `has_<modality>`."""
    plain = ("start", "end", "speaker", "text", "emotion", "confidence")
    return [
        {key: utterance[key] for key in plain}
        | {f"p_{label}": utterance["probabilities"][label] for label in result["labels"]}
        | {
            f"has_{modality}": utterance["modalities"][modality]["present"]
            if modality in utterance["modalities"]
            else False
            for modality in ("text", "audio", "visual")
        }
        for utterance in result["utterances"]
    ]
