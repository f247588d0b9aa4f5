"""ELAN: a tier of words per speaker and below it `emotion@SPEAKER`, whose values are a controlled vocabulary.

Written to the EAF 3.0 schema (element order matters there).  pympi writes the time of day into every file; the same
input must give the same bytes, so this builds the tree itself.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import count
from mimetypes import MimeTypes
from typing import Any

from pipeline.exports.rows import line, tier_names, tiers

__all__ = ["write"]

XSI = "http://www.w3.org/2001/XMLSchema-instance"
LANGUAGE = "und"  # ISO 639: undetermined
SYMBOLIC = "1-1 association with a parent annotation"


def write(result: dict[str, Any]) -> bytes:
    """`result["media"]` is taken as the path of the medium relative to the file written."""
    root = ET.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": "merc",
            "DATE": "1970-01-01T00:00:00+00:00",  # required; a clock would change the bytes
            "FORMAT": "3.0",
            "VERSION": "3.0",
            "xmlns:xsi": XSI,
            "xsi:noNamespaceSchemaLocation": "http://www.mpi.nl/tools/elan/EAFv3.0.xsd",
        },
    )
    header = _add(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    media = "./" + line(result["media"]).replace("\\", "/").removeprefix("./")
    kind = MimeTypes().guess_type(media)[0] or "unknown"  # the built-in table, not the machine's
    _add(header, "MEDIA_DESCRIPTOR", MEDIA_URL=media, MIME_TYPE=kind, RELATIVE_MEDIA_URL=media)
    order = _add(root, "TIME_ORDER")
    vocabulary = {label: f"cve{index}" for index, label in enumerate(result["labels"])}
    speakers = tiers(result)
    slots, names = count(1), count(1)
    for speaker, (words, emotions) in tier_names(list(speakers)).items():
        said = _add(
            root, "TIER", LINGUISTIC_TYPE_REF="utterance", PARTICIPANT=speaker, TIER_ID=words
        )
        felt = _add(
            root,
            "TIER",
            LINGUISTIC_TYPE_REF="emotion",
            PARENT_REF=words,
            PARTICIPANT=speaker,
            TIER_ID=emotions,
        )
        for span in speakers[speaker]:
            first, last = f"ts{next(slots)}", f"ts{next(slots)}"
            _add(order, "TIME_SLOT", TIME_SLOT_ID=first, TIME_VALUE=str(span.start))
            _add(order, "TIME_SLOT", TIME_SLOT_ID=last, TIME_VALUE=str(span.end))
            name = f"a{next(names)}"
            _value(
                _add(
                    _add(said, "ANNOTATION"),
                    "ALIGNABLE_ANNOTATION",
                    ANNOTATION_ID=name,
                    TIME_SLOT_REF1=first,
                    TIME_SLOT_REF2=last,
                ),
                span.text,
            )
            _value(
                _add(
                    _add(felt, "ANNOTATION"),
                    "REF_ANNOTATION",
                    ANNOTATION_ID=f"a{next(names)}",
                    ANNOTATION_REF=name,
                    CVE_REF=vocabulary[span.emotion],
                ),
                span.emotion,
            )
    _add(header, "PROPERTY", NAME="lastUsedAnnotationId").text = str(next(names) - 1)
    _add(
        root,
        "LINGUISTIC_TYPE",
        GRAPHIC_REFERENCES="false",
        LINGUISTIC_TYPE_ID="utterance",
        TIME_ALIGNABLE="true",
    )
    _add(
        root,
        "LINGUISTIC_TYPE",
        CONSTRAINTS="Symbolic_Association",
        CONTROLLED_VOCABULARY_REF="emotion",
        GRAPHIC_REFERENCES="false",
        LINGUISTIC_TYPE_ID="emotion",
        TIME_ALIGNABLE="false",
    )
    _add(
        root,
        "LANGUAGE",
        LANG_DEF="http://cdb.iso.org/lg/CDB-00130975-001",
        LANG_ID=LANGUAGE,
        LANG_LABEL="undetermined (und)",
    )
    _add(root, "CONSTRAINT", DESCRIPTION=SYMBOLIC, STEREOTYPE="Symbolic_Association")
    entries = _add(root, "CONTROLLED_VOCABULARY", CV_ID="emotion")
    _add(entries, "DESCRIPTION", LANG_REF=LANGUAGE).text = f"labels of {line(result['model'])}"
    for label, name in vocabulary.items():
        entry = _add(entries, "CV_ENTRY_ML", CVE_ID=name)
        _add(entry, "CVE_VALUE", DESCRIPTION="", LANG_REF=LANGUAGE).text = label
    ET.indent(root)
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, "utf-8") + b"\n"


def _add(parent: ET.Element, tag: str, **attributes: str) -> ET.Element:
    return ET.SubElement(parent, tag, attributes)


def _value(annotation: ET.Element, text: str) -> None:
    _add(annotation, "ANNOTATION_VALUE").text = text
