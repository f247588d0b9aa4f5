"""Read the emotions in annotation files: merc's own, corrected in other tools, and tables.

The transcript readers give words and speakers; these give spans with a label. They understand what
merc writes (tiers "emotion@SPEAKER", "SPEAKER [emotion]: text") and tables with a column `emotion`
or `label`.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.core.dialogue import Utterance
from pipeline.exports.escapes import speaker_named, unescape
from pipeline.exports.rows import fields_of_row, line, speaker_of_tier
from pipeline.segmentation.transcripts.clock import FrameRateNeeded, seconds
from pipeline.segmentation.transcripts.cue import find_times
from pipeline.segmentation.transcripts.markup import plain
from pipeline.segmentation.transcripts.source import Source
from pipeline.segmentation.transcripts.textgrid import read_tiers

__all__ = ["COLUMNS", "READERS", "LabelSpan", "spans_of"]

TIER = "emotion@"
COLUMNS = ("emotion", "label")  # of a table, by preference
OF_FILE = ("media", "model", "profile")  # which each row of merc repeats
# a label that merc writes has a word joiner between a space and a bracket, so " [" starts another
_HEAD = re.compile(
    r"(?P<speaker>.{1,200}?) "
    r"\[(?P<label>(?:(?! \[)(?:[^\]]|\](?![:\s]|$))){1,200})\]:(?:\s|$)"
)
_LABEL = re.compile(r"\[(?P<label>(?:[^\]]|\](?!\s|$)){1,200})\](?:\s|$)")
_VOICE = re.compile(r"<v(?:\.[^\s<>]*)?[ \t]+([^<>]+)>")


@dataclass(frozen=True)
class LabelSpan:
    """An emotion with its time in seconds.

    speaker: None if the file does not say. fields: what else it says of the utterance, as the JSON
    file of `merc label` has it. file: what it says of all utterances: media, model, profile.
    """

    start: float
    end: float
    speaker: str | None
    label: str
    fields: dict[str, Any] = field(default_factory=dict)
    file: dict[str, str] = field(default_factory=dict)


def spans_of(utterances: list[Utterance], spans: list[LabelSpan]) -> list[LabelSpan | None]:
    """Return the labelled span of each utterance, None for none.

    It is the one of the same times and speaker, or else the one that covers most of the utterance,
    if it covers half of it.
    """
    exact: dict[tuple[int, int, str | None], list[LabelSpan]] = {}
    for span in spans:
        exact.setdefault(_key(span.start, span.end, span.speaker), []).append(span)
    ordered = sorted(spans, key=lambda span: span.start)
    longest = max((span.end - span.start for span in spans), default=0.0)
    found: list[tuple[int, LabelSpan | None]] = []
    first = 0
    for index in sorted(range(len(utterances)), key=lambda k: utterances[k].start):
        utterance = utterances[index]
        while first < len(ordered) and ordered[first].start < utterance.start - longest:
            first += 1
        best, most = None, 0.5 * (utterance.end - utterance.start)
        for span in ordered[first:]:
            if span.start >= utterance.end:
                break
            shared = min(span.end, utterance.end) - max(span.start, utterance.start)
            if shared >= most and span.speaker in (None, utterance.speaker):
                best, most = span, shared
        # utterances of the same times and speaker take theirs in turn
        same = exact.get(_key(utterance.start, utterance.end, utterance.speaker))
        found.append((index, same.pop(0) if same else best))
    return [span for _, span in sorted(found, key=lambda pair: pair[0])]


def _key(start: float, end: float, speaker: str | None) -> tuple[int, int, str | None]:
    return round(1000 * start), round(1000 * end), speaker


def _eaf(source: Source) -> list[LabelSpan]:
    root = ET.fromstring(source.data)
    file = _media_of(root)
    times = {
        slot.get("TIME_SLOT_ID"): int(slot.get("TIME_VALUE", "")) / 1000
        for slot in root.iter("TIME_SLOT")
        if slot.get("TIME_VALUE", "").isdigit()
    }
    aligned: dict[str | None, tuple[float, float]] = {}
    for annotation in root.iter("ALIGNABLE_ANNOTATION"):
        start, end = (times.get(annotation.get(f"TIME_SLOT_REF{n}")) for n in (1, 2))
        if start is not None and end is not None:
            aligned[annotation.get("ANNOTATION_ID")] = (start, end)
    spans = []
    for tier in root.iter("TIER"):
        name = tier.get("TIER_ID", "")
        if not name.startswith(TIER):
            continue
        # ELAN keeps the parent's name where a user renames the tier of emotions
        speaker = speaker_of_tier(tier.get("PARENT_REF") or name.removeprefix(TIER))
        for kind, reference in (
            ("REF_ANNOTATION", "ANNOTATION_REF"),
            ("ALIGNABLE_ANNOTATION", "ANNOTATION_ID"),
        ):
            for annotation in tier.iter(kind):
                span = aligned.get(annotation.get(reference))
                label = line(annotation.findtext("ANNOTATION_VALUE") or "")
                if span and label:
                    spans.append(LabelSpan(*span, speaker, label, file=file))
    return spans


def _media_of(root: ET.Element) -> dict[str, str]:
    """Return the name of the first recording that an ELAN file is linked to, if it is."""
    for media in root.iter("MEDIA_DESCRIPTOR"):
        url = media.get("RELATIVE_MEDIA_URL") or media.get("MEDIA_URL") or ""
        if name := url.rpartition("/")[2]:
            return {"media": name}
    return {}


def _textgrid(source: Source) -> list[LabelSpan]:
    spans = []
    for tier in read_tiers(source):
        if tier.name.startswith(TIER):
            speaker = speaker_of_tier(tier.name.removeprefix(TIER))
            for interval in tier.intervals:
                if interval.text:
                    spans.append(LabelSpan(interval.start, interval.end, speaker, interval.text))
    return spans


def _cues(source: Source) -> list[LabelSpan]:
    """Read SubRip and WebVTT: the line after the times begins with the label."""
    lines = source.text.split("\n")
    spans = []
    for number, row in enumerate(lines[:-1]):
        times = find_times(row)
        if times is None:
            continue
        text, speaker = lines[number + 1], None
        voice = _VOICE.match(text)
        if voice:
            speaker = speaker_named(line(plain(voice[1], styles=False)))
            text = plain(text[voice.end() :], styles=False)
        spans += _of_line(text, seconds(times[0]), seconds(times[1]), speaker)
    return spans


def _audacity(source: Source) -> list[LabelSpan]:
    spans = []
    for row in source.text.split("\n"):
        cells = row.split("\t", 2)
        if len(cells) == 3:
            spans += _of_line(cells[2], seconds(cells[0]), seconds(cells[1]), None)
    return spans


def _of_line(text: str, start: float, end: float, speaker: str | None) -> list[LabelSpan]:
    head = _LABEL.match(text) if speaker is not None else _HEAD.match(text)
    if head is None or not (math.isfinite(start) and math.isfinite(end)):
        return []
    if speaker is None:
        speaker = speaker_named(head["speaker"])
    return [LabelSpan(start, end, speaker, unescape(head["label"]))]


def _csv(source: Source) -> list[LabelSpan]:
    first, _, _ = source.text.partition("\n")
    separator = max("\t;,", key=first.count)
    return _rows(csv.DictReader(io.StringIO(source.text, newline=""), delimiter=separator))


def _parquet(source: Source) -> list[LabelSpan]:
    from pyarrow import parquet

    return _rows(parquet.read_table(io.BytesIO(source.data)).to_pylist())


def _jsonl(source: Source) -> list[LabelSpan]:
    rows = [json.loads(text) for text in source.text.split("\n") if text.strip()]
    return _rows((row for row in rows if isinstance(row, dict)), fields_of=_fields_of_line)


def _fields_of_line(row: Mapping[str, Any]) -> dict[str, Any] | None:
    return dict(row) if {"probabilities", "modalities"} <= row.keys() else None


def _rows(
    rows: Iterable[Mapping[str, Any]],
    fields_of: Callable[[Mapping[str, Any]], dict[str, Any] | None] = fields_of_row,
) -> list[LabelSpan]:
    """fields_of: returns what a row of merc says besides, None for a row of another program."""
    rows = [{str(name).strip(): value for name, value in row.items()} for row in rows]
    names = {name.lower() for row in rows for name in row}
    column = next((name for name in COLUMNS if name in names), None)
    spans = []
    for row in rows:
        by_name = {name.lower(): value for name, value in row.items()}
        label = by_name.get(column) if column else None
        try:
            start, end = (seconds(str(by_name.get(name, ""))) for name in ("start", "end"))
        except FrameRateNeeded:
            continue
        if label and math.isfinite(start) and math.isfinite(end):
            speaker, fields, file = line(by_name.get("speaker") or ""), fields_of(row), {}
            if fields is not None:
                file = {name: row[name] for name in OF_FILE if isinstance(row.get(name), str)}
            spans.append(LabelSpan(start, end, speaker, line(str(label)), fields or {}, file))
    return spans


READERS: dict[str, Callable[[Source], list[LabelSpan]]] = {
    ".eaf": _eaf,
    ".textgrid": _textgrid,
    ".srt": _cues,
    ".vtt": _cues,
    ".txt": _audacity,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
    ".jsonl": _jsonl,
}
