"""What several formats share: clean lines, one tier per speaker, flat rows."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from pipeline.core.modalities import MODALITIES
from pipeline.exports.escapes import (
    JOINER,
    NO_NAME,
    escape,
    escape_label,
    escape_name,
    speaker_named,
)

__all__ = [
    "UNCERTAIN",
    "Span",
    "columns",
    "confidence_of",
    "fields_of_row",
    "flat_rows",
    "head_of",
    "is_uncertain",
    "label_of",
    "line",
    "speaker_of",
    "speaker_of_tier",
    "tier_names",
    "tiers",
]

UNCERTAIN = "uncertain"  # written instead of an emotion of too little confidence
PLAIN = ("start", "end", "speaker", "text", "emotion", "confidence")
EVIDENCE = ("uncertain", "agree", "decisive")
# True and False as spreadsheets save them: English, German, French, Spanish, Italian,
# Portuguese, Dutch
YES = frozenset("true 1 wahr vrai verdadero vero verdadeiro waar".split())
NO = frozenset("false 0 falsch faux falso onwaar".split())
# control characters that are no white space, lone surrogates, and what else XML forbids
NOT_PRINTABLE = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")


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
    return " ".join(NOT_PRINTABLE.sub("", text).split())


def speaker_of(utterance: dict[str, Any]) -> str:
    """Return the speaker on one line, or "unknown"."""
    return line(utterance["speaker"]) or "unknown"


def label_of(utterance: dict[str, Any]) -> str:
    """Return the emotion, or "uncertain" if its confidence is below what the user asked for.

    >>> label_of({"emotion": "joy", "uncertain": True})
    'uncertain'
    >>> label_of({"emotion": "joy", "uncertain": True, "edited": {"emotion": True}})
    'joy'
    """
    return UNCERTAIN if is_uncertain(utterance) else utterance["emotion"]


def is_uncertain(utterance: dict[str, Any]) -> bool:
    """Return whether an emotion is of too little confidence, and nobody has corrected it."""
    return bool(utterance.get("uncertain")) and "emotion" not in _edited(utterance)


def confidence_of(utterance: dict[str, Any]) -> float | None:
    """Return how sure the model is of an emotion, or None if a person has chosen it.

    >>> confidence_of({"emotion": "joy", "confidence": 0.9, "edited": {"emotion": True}}) is None
    True
    """
    return None if "emotion" in _edited(utterance) else utterance["confidence"]


def _edited(utterance: dict[str, Any]) -> list[str]:
    edited = utterance.get("edited")
    if not isinstance(edited, dict):
        return []
    return sorted(name for name, changed in edited.items() if changed is True)


def head_of(utterance: dict[str, Any]) -> str:
    """Return the "SPEAKER [emotion]:" before a text, escaped so that merc reads it back."""
    speaker = escape_name(line(utterance["speaker"]))
    return f"{speaker} [{escape_label(line(label_of(utterance)))}]:"


def tiers(result: dict[str, Any]) -> dict[str, list[Span]]:
    """Return the spans of each tier in order of time; tiers in order of appearance.

    A tier has the name of its speaker. Annotation tools forbid overlaps in a tier: where utterances
    of one speaker overlap, the later one is on a second tier, "SPEAKER (2)" and a word joiner.
    """
    spans_of: dict[str, list[Span]] = {}
    for utterance in sorted(result["utterances"], key=lambda u: (u["start"], u["end"])):
        start, end = round(1000 * utterance["start"]), round(1000 * utterance["end"])
        span = Span(start, max(end, start + 1), line(utterance["text"]), label_of(utterance))
        speaker = line(utterance["speaker"])
        for layer in count(1):
            spans = spans_of.setdefault(_tier_name(speaker, layer), [])
            if not spans or spans[-1].end <= start:
                spans.append(span)
                break
    return spans_of


def _tier_name(speaker: str, layer: int) -> str:
    if speaker == NO_NAME:
        name = NO_NAME + JOINER
    else:
        name = escape(speaker, syntax=False) or NO_NAME
    return name if layer == 1 else f"{name} ({layer}){JOINER}"


def speaker_of_tier(name: str) -> str:
    """Return the speaker whose utterances `tiers` puts on the tier of this name.

    >>> speaker_of_tier("Ann"), speaker_of_tier("Ann (2)\u2060"), speaker_of_tier("unknown")
    ('Ann', 'Ann', '')
    """
    second = re.fullmatch(rf"(.*) \(\d+\){JOINER}", name, re.DOTALL)
    return speaker_named(second[1] if second else name)


def tier_names(speakers: list[str]) -> dict[str, tuple[str, str]]:
    """Name the emotion tier of each text tier; all names differ.

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
    """Return the keys of `flat_rows` in order; without "edited" if no utterance was edited."""
    return [
        *PLAIN,
        *(f"p_{label}" for label in result["labels"]),
        *(f"has_{modality}" for modality in MODALITIES),
        *EVIDENCE,
        *(f"emotion_{modality}" for modality in MODALITIES),
        *(f"shift_{modality}" for modality in MODALITIES),
        "face_confidence",
        *(["edited"] if any(map(_edited, result["utterances"])) else []),
    ]


def flat_rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one flat dict per utterance.

    p_<label>: probability. has_<modality>: whether the feature is present. emotion_<modality>: what
    the modality alone says. shift_<modality>: by how much it raises the probability of the emotion.
    face_confidence: that the face is the speaker's. edited: the fields that a person has changed,
    "emotion+text"; the confidence of such an emotion is None, the rest is what the model said.
    uncertain, agree, decisive: see `training.evidence`. None if not known.
    """
    rows = []
    for utterance in result["utterances"]:
        about = {m: utterance["modalities"].get(m, {}) for m in MODALITIES}
        row = {key: utterance[key] for key in PLAIN} | {"confidence": confidence_of(utterance)}
        row |= {f"p_{label}": utterance["probabilities"].get(label) for label in result["labels"]}
        row |= {f"has_{m}": about[m].get("present") for m in MODALITIES}
        row["uncertain"] = is_uncertain(utterance) if "uncertain" in utterance else None
        row["agree"] = utterance.get("agree")
        row["decisive"] = "+".join(utterance.get("decisive", []))
        row |= {f"emotion_{m}": about[m].get("emotion") for m in MODALITIES}
        row |= {f"shift_{m}": about[m].get("shift") for m in MODALITIES}
        found = about["visual"].get("present")
        row["face_confidence"] = about["visual"].get("confidence") if found else None
        row["edited"] = "+".join(_edited(utterance))
        rows.append(row)
    return rows


def fields_of_row(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what a row of `flat_rows`, of a CSV file perhaps, says of its utterance's label.

    None for a row of another table, in which "confidence", for instance, may be that of the words.
    Numbers and truth values may be written as in another locale.

    Raises ValueError for a cell that cannot be read.

    >>> fields_of_row({"p_joy": "0,9", "has_text": "WAHR", "uncertain": "False", "decisive": ""})
    {'probabilities': {'joy': 0.9}, 'modalities': {'text': {'present': True}}, 'uncertain': False}
    """
    if not {"uncertain", "decisive"} <= row.keys():
        return None
    fields: dict[str, Any] = {"confidence": _number(row, "confidence", least=0)}
    shares = {name: _number(row, name, least=0) for name in row if name.startswith("p_")}
    fields["probabilities"] = {
        name.removeprefix("p_"): share for name, share in shares.items() if share is not None
    }
    about: dict[str, dict[str, Any]] = {}
    for modality in MODALITIES:
        found = {
            "present": _truth(row, f"has_{modality}"),
            "emotion": row.get(f"emotion_{modality}") or None,
            "shift": _number(row, f"shift_{modality}", least=-1),
        }
        if modality == "visual":
            found["confidence"] = _number(row, "face_confidence", least=0)
        about[modality] = {name: value for name, value in found.items() if value is not None}
    fields["modalities"] = {modality: known for modality, known in about.items() if known}
    fields |= {name: _truth(row, name) for name in ("uncertain", "agree")}
    fields["decisive"] = [name for name in str(row["decisive"] or "").split("+") if name]
    fields["edited"] = {name: True for name in str(row.get("edited") or "").split("+") if name}
    return {name: value for name, value in fields.items() if value not in (None, {}, [])}


def _text(row: Mapping[str, Any], name: str) -> str:
    """Return a cell as text, "" for none."""
    return "" if row.get(name) is None else str(row[name]).strip()


def _number(row: Mapping[str, Any], name: str, least: float) -> float | None:
    """Return a number from `least` to 1, None for an empty cell."""
    text = _text(row, name)
    if not text:
        return None
    try:
        number = float(text.replace(",", "."))
    except ValueError:
        number = math.nan
    if not least <= number <= 1:
        raise ValueError(f"column {name}: {text[:20]!r} is not a number from {least:g} to 1")
    return number


def _truth(row: Mapping[str, Any], name: str) -> bool | None:
    text = _text(row, name).casefold()
    if text and text not in YES | NO:
        raise ValueError(f"column {name}: {text[:20]!r} is neither True nor False")
    return text in YES if text else None
