"""Read an annotated dialogue from any file that merc writes, corrected or not, as a result.

The content has the fields of the JSON file of `merc label`, as far as the file holds them. What it
does not hold is empty: confidence None, no probabilities, no modalities.
"""

from __future__ import annotations

import struct
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline.core.dialogue import Utterance
from pipeline.core.errors import MercError, MercWarning
from pipeline.core.schemas import Finite, check_json, read_json
from pipeline.exports.rows import UNCERTAIN, label_of
from pipeline.media.inputs import EXTENSIONS
from pipeline.segmentation.empty_annotations import holds_no_utterances
from pipeline.segmentation.labels import READERS, LabelSpan, spans_of
from pipeline.segmentation.transcripts import read_transcript
from pipeline.segmentation.transcripts.source import NothingInItError, Source

__all__ = [
    "UNLABELLED",
    "NoAnnotationError",
    "find_recording",
    "read_annotation",
    "stem_of",
]

UNLABELLED = "unlabelled"  # the emotion of an utterance that has none
BLANK = (".srt", ".txt", ".jsonl")  # files of merc that are empty if there are no utterances


class NoAnnotationError(MercError):
    """A file has no emotions or no times: a transcript, for instance, or an empty file of merc."""


class _Schema(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class _Utterance(_Schema):
    start: Annotated[float, Field(ge=0)]
    end: Annotated[float, Field(ge=0)]
    speaker: str = ""
    text: str = ""
    emotion: str = ""
    confidence: Finite | None = None
    probabilities: dict[str, Finite] = {}
    modalities: dict[str, dict[str, Any]] = {}


class _Evidence(_Utterance):
    """What an utterance may have besides; it has no default."""

    uncertain: bool = False
    agree: bool | None = None
    decisive: list[str] = []
    edited: dict[str, Any] = {}


class _Result(_Schema):
    media: str = ""
    labels: list[str] = []
    warnings: list[str] = []
    utterances: list[_Evidence]


def read_annotation(path: Path) -> dict[str, Any]:
    """Read a result of `merc label`, a corrected file, or any transcript with emotions.

    Utterances are in order of time. One without an emotion has the emotion "unlabelled".

    An annotation may have no utterances, as that of a recording without speech.

    Raises MercError if the file is empty or no annotation, has utterances without any emotion, or
    if an utterance ends before it starts; OSError if it cannot be read.
    """
    path = Path(path)
    content = _from_json(path) if path.suffix.lower() == ".json" else _from_transcript(path)
    utterances = content["utterances"] = sorted(
        content["utterances"], key=lambda u: (u["start"], u["end"])
    )
    for utterance in utterances:
        if utterance["end"] < utterance["start"]:
            raise MercError(
                f"{path}: an utterance ends at {utterance['end']} s, before it starts at "
                f"{utterance['start']} s",
                "correct its times",
            )
    _note_changes(content)
    if utterances and all(label_of(utterance) == UNLABELLED for utterance in utterances):
        raise NoAnnotationError(
            f"{path}: no emotions in this file",
            "give a result of `merc label`, or a table with the columns start, end, speaker, "
            "text, emotion",
        )
    used = [utterance["emotion"] for utterance in utterances]
    content["labels"] = list(dict.fromkeys([*content["labels"], *used]))
    return content


def find_recording(path: Path, media: str) -> Path | None:
    """Return the recording of an annotation file that lies next to it, or None."""
    named = path.parent / media
    if media and named.is_file():
        return named
    stem = stem_of(path)
    for other in sorted(path.parent.glob("*")):
        if other.stem == stem and other.suffix[1:].lower() in EXTENSIONS:
            return other
    return None


def stem_of(path: Path) -> str:
    """Return the name of an annotation file without merc's extensions.

    >>> stem_of(Path("out/my.talk.merc.TextGrid"))
    'my.talk'
    """
    return path.stem.removesuffix(".merc")


def _note_changes(content: dict[str, Any]) -> None:
    """Mark emotions that are not the most probable ones: a person has chosen them.

    An editor or spreadsheet changes the emotion only; the page marks what was edited itself.
    """
    for utterance in content["utterances"]:
        likely, emotion = utterance["probabilities"], utterance["emotion"]
        # where the column of the emotion was deleted, it has what the others leave
        chosen = likely.get(emotion, 1.0 - sum(likely.values()))
        if likely and emotion != UNLABELLED and chosen < max(likely.values()):
            utterance["edited"] = utterance.get("edited", {}) | {"emotion": True}
            content["edited"] = True


def _from_json(path: Path) -> dict[str, Any]:
    content = read_json(path, _Result, "give a JSON file of `merc label`")
    defaults = {"media": stem_of(path), "labels": [], "warnings": [], "model": "", "profile": ""}
    fields = _Utterance.model_fields
    utterances = []
    for utterance in content["utterances"]:
        known = {name: field.default for name, field in fields.items() if not field.is_required()}
        utterances.append(known | utterance | {"emotion": utterance.get("emotion") or UNLABELLED})
    return defaults | content | {"utterances": utterances}


def _from_transcript(path: Path) -> dict[str, Any]:
    warnings: list[MercWarning] = []
    try:
        # the emotions of copies may differ
        spoken = read_transcript(path, warnings, copies=True)
    except NothingInItError as error:
        if path.suffix.lower() in BLANK:
            raise NoAnnotationError(error.reason, error.remedy) from error
        if not holds_no_utterances(Source(path)):
            raise
        spoken = []
    if any(u.start != u.start for u in spoken):
        raise NoAnnotationError(f"{path}: no times in this file", "give a file with times")
    reader = READERS.get(path.suffix.lower())
    try:
        spans = reader(Source(path)) if reader else []
    except (ValueError, ET.ParseError, StopIteration, RuntimeError, struct.error) as error:
        raise MercError(f"{path}: its emotions cannot be read: {error}", "save it again") from error
    pairs = list(zip(spoken, spans_of(spoken, spans), strict=True))
    utterances = [_labelled(utterance, span) for utterance, span in pairs]
    content: dict[str, Any] = {
        "media": stem_of(path),
        "model": "",
        "profile": "",
        "labels": [],
        # the emotions are used here
        "warnings": [str(w) for w in warnings if "emotion" not in w.text],
        "utterances": utterances,
    }
    content |= next((span.file for _, span in pairs if span), {})
    check_json(content, _Result, str(path), "correct it, or give the JSON file of `merc label`")
    names = (name for utterance in utterances for name in utterance["probabilities"])
    content["labels"] = list(dict.fromkeys(names))
    return content


def _labelled(utterance: Utterance, span: LabelSpan | None) -> dict[str, Any]:
    """Return an utterance with its label, and what else a table of merc says of it."""
    content: dict[str, Any] = {"confidence": None, "probabilities": {}, "modalities": {}}
    label = span.label if span else UNLABELLED
    if span:
        content |= span.fields
    if label == UNCERTAIN:  # written in place of the emotion
        label, content["uncertain"] = UNLABELLED, True
    return content | {
        "start": utterance.start,
        "end": utterance.end,
        "speaker": utterance.speaker,
        "text": utterance.text,
        "emotion": label,
    }
