"""ELAN: per speaker a tier of texts and below it the tier `emotion@SPEAKER`.

The emotions are a controlled vocabulary. The file follows the EAF 3.0 schema, in which the order
of elements matters. pympi is not used here: it writes the time of day into every file.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import count
from mimetypes import MimeTypes
from typing import Any

from pipeline.exports.escapes import NO_NAME
from pipeline.exports.rows import Span, line, speaker_of_tier, tier_names, tiers

__all__ = ["write"]

XSI = "http://www.w3.org/2001/XMLSchema-instance"
LANGUAGE = "und"  # ISO 639: undetermined
SYMBOLIC = "1-1 association with a parent annotation"
DOCUMENT = {
    "AUTHOR": "merc",
    "DATE": "1970-01-01T00:00:00+00:00",  # required; the current time would change the bytes
    "FORMAT": "3.0",
    "VERSION": "3.0",
    "xmlns:xsi": XSI,
    "xsi:noNamespaceSchemaLocation": "http://www.mpi.nl/tools/elan/EAFv3.0.xsd",
}
TEXT_TYPE = {
    "GRAPHIC_REFERENCES": "false",
    "LINGUISTIC_TYPE_ID": "utterance",
    "TIME_ALIGNABLE": "true",
}
EMOTION_TYPE = {
    "CONSTRAINTS": "Symbolic_Association",
    "CONTROLLED_VOCABULARY_REF": "emotion",
    "GRAPHIC_REFERENCES": "false",
    "LINGUISTIC_TYPE_ID": "emotion",
    "TIME_ALIGNABLE": "false",
}
LANGUAGE_ENTRY = {
    "LANG_DEF": "http://cdb.iso.org/lg/CDB-00130975-001",
    "LANG_ID": LANGUAGE,
    "LANG_LABEL": "undetermined (und)",
}


def write(result: dict[str, Any]) -> bytes:
    """Format a result; `result["media"]` is the recording's path relative to the file."""
    root = ET.Element("ANNOTATION_DOCUMENT", DOCUMENT)
    header = _add_header(root, result["media"])
    spans_of = tiers(result)
    used = [span.emotion for spans in spans_of.values() for span in spans]
    labels = dict.fromkeys([*result["labels"], *used])  # used: also "uncertain"
    vocabulary = {label: f"cve{index}" for index, label in enumerate(labels)}
    annotations = _add_tiers(root, spans_of, vocabulary)
    _add(header, "PROPERTY", NAME="lastUsedAnnotationId").text = str(annotations)
    _add(root, "LINGUISTIC_TYPE", **TEXT_TYPE)
    _add(root, "LINGUISTIC_TYPE", **EMOTION_TYPE)
    _add(root, "LANGUAGE", **LANGUAGE_ENTRY)
    _add(root, "CONSTRAINT", DESCRIPTION=SYMBOLIC, STEREOTYPE="Symbolic_Association")
    _add_vocabulary(root, vocabulary, result["model"])
    ET.indent(root)
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, "utf-8") + b"\n"


def _add_header(root: ET.Element, media: str) -> ET.Element:
    header = _add(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    url = "./" + line(media).replace("\\", "/").removeprefix("./")
    # the built-in table of types, not that of the machine
    kind = MimeTypes().guess_type(url)[0] or "unknown"
    _add(header, "MEDIA_DESCRIPTOR", MEDIA_URL=url, MIME_TYPE=kind, RELATIVE_MEDIA_URL=url)
    return header


def _add_tiers(
    root: ET.Element, spans_of: dict[str, list[Span]], vocabulary: dict[str, str]
) -> int:
    """Add the time slots and the tiers of all speakers; return the number of annotations."""
    order = _add(root, "TIME_ORDER")
    slots, names = count(1), count(1)
    for speaker, (text_tier, emotion_tier) in tier_names(list(spans_of)).items():
        common = {"PARTICIPANT": speaker_of_tier(speaker) or NO_NAME}
        texts = _add(root, "TIER", LINGUISTIC_TYPE_REF="utterance", **common, TIER_ID=text_tier)
        emotion = {"LINGUISTIC_TYPE_REF": "emotion", "PARENT_REF": text_tier}
        emotions = _add(root, "TIER", **emotion, **common, TIER_ID=emotion_tier)
        for span in spans_of[speaker]:
            first, last = f"ts{next(slots)}", f"ts{next(slots)}"
            _add(order, "TIME_SLOT", TIME_SLOT_ID=first, TIME_VALUE=str(span.start))
            _add(order, "TIME_SLOT", TIME_SLOT_ID=last, TIME_VALUE=str(span.end))
            text_id, emotion_id = f"a{next(names)}", f"a{next(names)}"
            times = {"TIME_SLOT_REF1": first, "TIME_SLOT_REF2": last}
            text = {"ANNOTATION_ID": text_id, **times}
            _annotate(texts, "ALIGNABLE_ANNOTATION", text, span.text)
            reference = {"ANNOTATION_REF": text_id, "CVE_REF": vocabulary[span.emotion]}
            emotion = {"ANNOTATION_ID": emotion_id, **reference}
            _annotate(emotions, "REF_ANNOTATION", emotion, span.emotion)
    return next(names) - 1


def _add_vocabulary(root: ET.Element, vocabulary: dict[str, str], model: str) -> None:
    entries = _add(root, "CONTROLLED_VOCABULARY", CV_ID="emotion")
    _add(entries, "DESCRIPTION", LANG_REF=LANGUAGE).text = f"labels of {line(model)}"
    for label, name in vocabulary.items():
        entry = _add(entries, "CV_ENTRY_ML", CVE_ID=name)
        _add(entry, "CVE_VALUE", DESCRIPTION="", LANG_REF=LANGUAGE).text = label


def _annotate(tier: ET.Element, kind: str, attributes: dict[str, str], value: str) -> None:
    annotation = _add(_add(tier, "ANNOTATION"), kind, **attributes)
    _add(annotation, "ANNOTATION_VALUE").text = value


def _add(parent: ET.Element, tag: str, **attributes: str) -> ET.Element:
    return ET.SubElement(parent, tag, attributes)
