"""ELAN: tiers of annotations; a tier below another one holds labels of its annotations.

pympi is not used here: it fails on annotation ids without digits and on values that are left out,
and prints. The tests compare ordinary files with what pympi reads.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from itertools import pairwise

from pipeline.core.dialogue import Utterance
from pipeline.exports.rows import speaker_of_tier
from pipeline.segmentation.transcripts.markup import one_line
from pipeline.segmentation.transcripts.source import Source, TranscriptError
from pipeline.segmentation.transcripts.tiers import Interval, Tier, utterances_of_tiers

__all__ = ["read_eaf"]


def read_eaf(source: Source) -> list[Utterance]:
    """Read the utterances of an ELAN file; the speaker is the tier's participant, or its name."""
    try:
        root = ET.fromstring(source.data)
    except (ET.ParseError, ValueError, LookupError) as error:
        line, column = getattr(error, "position", (1, 0))
        raise TranscriptError(
            f"{source.path}: not a readable ELAN file: no valid XML at line {line}, "
            f"column {column + 1}",
            "save it again in ELAN",
        ) from error
    times = _times(root)
    tiers = [tier for tier in root.iter("TIER") if "TIER_ID" in tier.attrib]
    if tiers and root.get("AUTHOR") == "merc" and _is_own(tiers):
        return _own(tiers, times, source)
    return utterances_of_tiers([_tier(tier, times, source) for tier in tiers], source)


def _is_own(tiers: list[ET.Element]) -> bool:
    return all(tier.get("LINGUISTIC_TYPE_REF") in ("utterance", "emotion") for tier in tiers)


def _own(tiers: list[ET.Element], times: dict[str, float], source: Source) -> list[Utterance]:
    """Read what merc writes: a tier of texts for each speaker, with a tier of emotions below."""
    source.ignore_emotions("tiers of emotions")
    utterances = []
    for element in tiers:
        if element.get("LINGUISTIC_TYPE_REF") == "utterance":
            speaker = speaker_of_tier(element.get("TIER_ID", ""))
            for i in _tier(element, times, source).intervals:
                utterances.append(Utterance(i.start, i.end, i.text, speaker))
    return sorted(utterances, key=lambda u: (u.start, u.end))


def _times(root: ET.Element) -> dict[str, float]:
    """Return the time slots in seconds; a slot without a time lies between its neighbours."""
    slots = []
    for slot in root.iter("TIME_SLOT"):
        value = slot.get("TIME_VALUE")
        try:
            slots.append((slot.get("TIME_SLOT_ID", ""), int(value) / 1000 if value else math.nan))
        except (ValueError, OverflowError):
            slots.append((slot.get("TIME_SLOT_ID", ""), math.nan))
    known = [k for k, (_, time) in enumerate(slots) if not math.isnan(time)]
    times = dict(slots)
    for a, b in pairwise(known):
        for k in range(a + 1, b):
            share = (k - a) / (b - a)
            times[slots[k][0]] = (1 - share) * slots[a][1] + share * slots[b][1]
    return times


def _tier(element: ET.Element, times: dict[str, float], source: Source) -> Tier:
    """Read a tier. Annotations of another annotation have no times and become points."""
    tier = Tier(element.get("TIER_ID", ""), speaker=one_line(element.get("PARTICIPANT", "")))
    dependent = element.get("PARENT_REF") is not None
    for annotation in element.iter("ALIGNABLE_ANNOTATION"):
        text = _value(annotation)
        start = times.get(annotation.get("TIME_SLOT_REF1", ""), math.nan)
        end = times.get(annotation.get("TIME_SLOT_REF2", ""), math.nan)
        if dependent and not tier.name.lower().startswith("word"):
            tier.points.append(text)
        elif math.isnan(start) or math.isnan(end):
            source.leave_out("their times cannot be read", text)
        else:
            tier.intervals.append(Interval(start, end, text))
    tier.points += [_value(annotation) for annotation in element.iter("REF_ANNOTATION")]
    return tier


def _value(annotation: ET.Element) -> str:
    value = annotation.find("ANNOTATION_VALUE")
    return one_line(value.text or "") if value is not None else ""
