"""Compute the feature matrices of one recording's utterances.

A feature that cannot be made is missing: a row of NaN and a reason, never a zero vector.
"""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from extractors.threads import side_by_side
from pipeline.core.dialogue import Segmentation
from pipeline.core.forks import models_used
from pipeline.core.progress import Stage, add_costs, no_stage
from pipeline.core.resources import threads_of_process
from pipeline.features.overlap import note_overlaps
from pipeline.media.decode import RATE, Media

__all__ = ["DialogueFeatures", "compute_features"]

SHORTEST_SOUND = 1600  # samples, 100 ms; openSMILE's functionals are undefined below

Rows = tuple[list[np.ndarray | None], list[dict[str, Any]]]


@dataclass(frozen=True)
class DialogueFeatures:
    """The features of the n utterances of one recording.

    vectors: modality -> (n, width) float32; a row of NaN is a missing feature.
    quality: modality -> n dicts, each with `present` and, if the feature is missing, `reason`.
    fingerprints: modality -> what made the vectors.
    boxes: for each utterance the speaker's face, about every half second: seconds, then left, top,
        width and height as shares of the frame.
    """

    vectors: dict[str, np.ndarray]
    quality: dict[str, list[dict[str, Any]]]
    fingerprints: dict[str, dict[str, Any]]
    boxes: list[list[tuple[float, ...]]] = field(default_factory=list)

    def of(self, index: int, later: float = 0.0) -> dict[str, dict[str, Any]]:
        """Return what is known about the features of one utterance, by modality.

        later: seconds to add to the times of the boxes.
        """
        about = {name: rows[index] for name, rows in self.quality.items()}
        if self.boxes and self.boxes[index]:
            boxes = [(round(box[0] + later, 3), *box[1:]) for box in self.boxes[index]]
            about["visual"] = about["visual"] | {"boxes": boxes}
        return about


def compute_features(
    media: Media,
    segmentation: Segmentation,
    extractors: dict[str, Any],
    stage: Stage = no_stage,
) -> DialogueFeatures:
    """Run each extractor over all utterances of an open recording.

    Args:
        extractors: modality -> extractor, as `profiles.build_extractors` returns them.
        stage: called with each modality before its extractor runs.

    >>> from pipeline.features.profiles import build_extractors
    >>> from pipeline.media.decode import open_media
    >>> from pipeline.segmentation.recognition import Recogniser
    >>> from pipeline.segmentation.segment import segment
    >>> with open_media("examples/dialogue.mp4") as media:
    ...     segmentation = segment(media, recogniser=Recogniser())
    ...     features = compute_features(media, segmentation, build_extractors("offline"))
    >>> features.vectors["visual"].shape[1]
    342
    """
    readings = _read(media, segmentation, extractors, stage)
    vectors, quality = {}, {}
    for modality, extractor in extractors.items():
        rows, quality[modality] = readings[modality]
        matrix = np.full((len(rows), extractor.dim), np.nan, np.float32)
        for index, row in enumerate(rows):
            if row is not None:
                matrix[index] = row
        vectors[modality] = matrix
    fingerprints = {name: extractor.fingerprint for name, extractor in extractors.items()}
    # not part of the quality, which the store keeps: they describe the picture, not the feature
    boxes = [about.pop("boxes", []) for about in quality.get("visual", [])]
    return DialogueFeatures(vectors, quality, fingerprints, boxes)


def _read(
    media: Media, segmentation: Segmentation, extractors: dict[str, Any], stage: Stage
) -> dict[str, Rows]:
    """Return the features of every modality.

    With several threads, texts and voices are read beside faces: they take less time, most of it
    outside Python.
    """
    models_used()
    readings, waiting, stop = {}, {}, threading.Event()
    threads = threads_of_process()
    with side_by_side(threads) as pool:
        try:
            for modality, extractor in extractors.items():
                stage(modality)
                if modality == "visual":
                    readings[modality] = _visual(media, segmentation, extractor)
                elif modality == "audio":
                    waiting[modality] = pool.submit(_audio, media, segmentation, extractor, stop)
                else:
                    waiting[modality] = pool.submit(_text, media, segmentation, extractor)
            for modality, rows in waiting.items():
                stage(modality)  # in which it fails, if it does
                readings[modality] = rows.result()
        finally:
            stop.set()
    if "audio" in readings:
        note_overlaps(media, segmentation, readings["audio"][1], extractors["audio"])
    if threads > 1:
        add_costs(stage, extractors)
    return readings


def _text(media: Media, segmentation: Segmentation, extractor: Any) -> Rows:
    from extractors.text import clean_text

    texts = [utterance.text for utterance in segmentation.utterances]
    rows: list[np.ndarray | None] = [None] * len(texts)
    quality: list[dict[str, Any]] = [_missing("no words") for _ in texts]
    with_words = [
        k
        for k, text in enumerate(texts)
        if _has_words(text) and clean_text(text, extractor.cleaning)
    ]
    if with_words:
        batch = [texts[k] for k in with_words]
        truncated = extractor.truncated(batch)
        for k, row, cut in zip(with_words, extractor.extract(batch), truncated, strict=True):
            rows[k] = row
            quality[k] = {"present": True} | ({"truncated": True} if cut else {})
    return rows, quality


def _has_words(text: str) -> bool:
    """Whether a text has a letter or a digit; "..." and "—" have none."""
    return any(character.isalnum() for character in text)


def _audio(media: Media, segmentation: Segmentation, extractor: Any, stop: threading.Event) -> Rows:
    """stop: no utterance is begun after it is set."""
    from extractors.sound import is_silent

    utterances = segmentation.utterances
    if not media.has_audio:
        return [None] * len(utterances), [_missing("no audio stream") for _ in utterances]
    rows: list[np.ndarray | None] = []
    quality: list[dict[str, Any]] = []
    for utterance in utterances:
        if stop.is_set():
            raise CancelledError
        sound = media.sound(utterance.start, utterance.end)
        if len(sound) < SHORTEST_SOUND:
            row, about = None, _missing(f"{len(sound) / 16:.0f} ms of sound is too short")
        elif is_silent(sound):
            row, about = None, _missing("silence")
        else:
            row = extractor.extract(sound, RATE)
            about = {"present": True} | extractor.quality(sound, RATE, row)
        rows.append(row)
        quality.append(about)
    return rows, quality


def _visual(media: Media, segmentation: Segmentation, extractor: Any) -> Rows:
    spans = [(utterance.start, utterance.end) for utterance in segmentation.utterances]
    if not media.has_video:
        return [None] * len(spans), [_missing("no video stream") for _ in spans]
    sound = media.sound if media.has_audio else None
    speakers = [utterance.speaker for utterance in segmentation.utterances]
    readings = extractor.read(media.frames(), spans, sound, speakers) if spans else []
    turned = max((reading.turned for reading in readings), default=0)
    if turned:
        media.warn(
            f"faces are upright only when its picture is turned by {turned}° counter-clockwise, "
            "which the file does not state; visual features are unreliable. State it: "
            f"ffmpeg -display_rotation {turned} -i INPUT -c copy OUTPUT"
        )
    quality = []
    for reading in readings:
        why = "no face found" if reading.frames else "no picture at this time"
        about = {"present": True} if reading.vector is not None else _missing(why)
        boxes = [
            (round(box[0], 3), *(round(share, 4) for share in box[1:])) for box in reading.boxes
        ]
        quality.append(about | reading.quality() | {"boxes": boxes})
    return [reading.vector for reading in readings], quality


def _missing(reason: str) -> dict[str, Any]:
    return {"present": False, "reason": reason}
