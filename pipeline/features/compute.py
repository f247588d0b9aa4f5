"""Utterances of one medium to their three feature matrices; what is missing is said, never filled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.core.dialogue import Segmentation
from pipeline.media.decode import Media

__all__ = ["DialogueFeatures", "features_of"]


@dataclass(frozen=True)
class DialogueFeatures:
    """vectors: modality -> (n, width) float32, a row of NaN = missing.  quality: modality -> n dicts, each with
    `present` and, when absent, `reason`.  fingerprints: modality -> what made the vectors."""

    vectors: dict[str, np.ndarray]
    quality: dict[str, list[dict[str, Any]]]
    fingerprints: dict[str, dict[str, Any]]


def features_of(
    media: Media,
    segmentation: Segmentation,
    extractors: dict[str, Any],
    stage: Callable[[str], None] = lambda name: None,
) -> DialogueFeatures:
    """Run each extractor over all utterances; `stage` is told the name of each step as it begins."""
    read = {"text": _text, "audio": _audio, "visual": _visual}
    vectors, quality = {}, {}
    for modality, extractor in extractors.items():
        stage(modality)
        rows, quality[modality] = read[modality](media, segmentation, extractor)
        matrix = np.full((len(rows), extractor.dim), np.nan, np.float32)
        for index, row in enumerate(rows):
            if row is not None:
                matrix[index] = row
        vectors[modality] = matrix
    return DialogueFeatures(
        vectors, quality, {m: extractor.fingerprint for m, extractor in extractors.items()}
    )


Rows = tuple[list[np.ndarray | None], list[dict[str, Any]]]


def _text(media: Media, segmentation: Segmentation, extractor: Any) -> Rows:
    from extractors.text import clean_text

    texts = [utterance.text for utterance in segmentation.utterances]
    told = [index for index, text in enumerate(texts) if clean_text(text, extractor.cleaning)]
    rows: list[np.ndarray | None] = [None] * len(texts)
    quality: list[dict[str, Any]] = [{"present": False, "reason": "no words"} for _ in texts]
    if told:
        said = [texts[index] for index in told]
        cut = extractor.truncated(said)
        for index, row, truncated in zip(told, extractor.extract(said), cut, strict=True):
            rows[index] = row
            quality[index] = {"present": True} | ({"truncated": True} if truncated else {})
    return rows, quality


def _audio(media: Media, segmentation: Segmentation, extractor: Any) -> Rows:
    from extractors.audio import is_silent

    rows: list[np.ndarray | None] = []
    quality: list[dict[str, Any]] = []
    for utterance in segmentation.utterances:
        row, said = None, _no_sound(media)
        if said is None:
            sound = media.sound(utterance.start, utterance.end)
            if len(sound) < 1600:  # 100 ms at 16 kHz: openSMILE's functionals are undefined below
                said = f"{len(sound) / 16:.0f} ms of sound is too short"
            elif is_silent(sound):
                said = "silence"
            else:
                row = extractor.extract(sound, 16000)
        rows.append(row)
        if row is None:
            quality.append({"present": False, "reason": said})
        else:
            quality.append({"present": True} | extractor.quality(sound, 16000, row))
    return rows, quality


def _no_sound(media: Media) -> str | None:
    return None if media.has_audio else "no audio stream"


def _visual(media: Media, segmentation: Segmentation, extractor: Any) -> Rows:
    spans = [(utterance.start, utterance.end) for utterance in segmentation.utterances]
    if not media.has_video:
        return [None] * len(spans), [{"present": False, "reason": "no video stream"} for _ in spans]
    sound = media.sound if media.has_audio else None
    readings = extractor.read(media.frames(), spans, sound) if spans else []
    quality = []
    for reading in readings:
        absent = {} if reading.vector is not None else {"reason": "no face found"}
        quality.append({"present": reading.vector is not None} | absent | reading.quality())
    return [reading.vector for reading in readings], quality
