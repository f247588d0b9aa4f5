"""Faces of a split screen, where each speaker has one half of the picture.

The corpus says which half shows which speaker. Mouths that move with the sound show whether that
is right.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline.core.dialogue import Segmentation, Utterance
from pipeline.features.compute import DialogueFeatures, compute_features
from pipeline.media.decode import Media

__all__ = ["MIN_CONFIDENCE", "SplitScreenFeatures", "agreement"]

# of the choice of speaker: at this confidence, it is right for 94 % of utterances that show two
# people side by side
MIN_CONFIDENCE = 0.7
CHECKED = 8  # utterances per side to compare the mouths of
SHORTEST, LONGEST = 1.0, 8.0  # seconds, of those utterances


@dataclass(frozen=True)
class SplitScreenFeatures:
    """Compute visual features as `compute_features` does, each from the speaker's half.

    sides: "l" or "r" for each utterance.

    The quality of an utterance holds its `half`. For some utterances both halves are searched for
    the mouth that moves with the sound; their quality also holds `mouth` ("l" or "r") and
    `mouth_confidence`.
    """

    sides: str

    def __call__(
        self, media: Media, segmentation: Segmentation, extractors: dict[str, Any]
    ) -> DialogueFeatures:
        ((modality, extractor),) = extractors.items()
        utterances = segmentation.utterances
        vectors = np.full((len(utterances), extractor.dim), np.nan, np.float32)
        quality: list[dict[str, Any]] = [{} for _ in utterances]
        for side in sorted(set(self.sides)):
            rows = [k for k, other in enumerate(self.sides) if other == side]
            part = replace(segmentation, utterances=[utterances[k] for k in rows])
            half = compute_features(_Half(media, side), part, extractors)  # type: ignore[arg-type]
            vectors[rows] = half.vectors[modality]
            for row, about in zip(rows, half.quality[modality], strict=True):
                quality[row] = about | {"half": side}
        for row, about in self._mouths(media, utterances, extractor).items():
            quality[row] |= about
        fingerprints = {modality: extractor.fingerprint}
        return DialogueFeatures({modality: vectors}, {modality: quality}, fingerprints)

    def _mouths(
        self, media: Media, utterances: list[Utterance], extractor: Any
    ) -> dict[int, dict[str, Any]]:
        """Find the half with the moving mouth, for the first few utterances of each side."""
        rows = _without_overlap(utterances, self.sides)
        if not (rows and media.has_audio and media.has_video):
            return {}
        spans = [(utterances[k].start, utterances[k].end) for k in rows]
        mouths = {}
        for k, reading in zip(
            rows, extractor.read(media.frames(), spans, media.sound), strict=True
        ):
            if reading.centre:
                mouths[k] = {
                    "mouth": "l" if reading.centre[0] < 0.5 else "r",
                    "mouth_confidence": round(reading.confidence, 3),
                }
        return mouths


def agreement(quality: list[dict[str, Any]]) -> tuple[int, int]:
    """Count utterances with the moving mouth in the speaker's half, and in the other half.

    Utterances below MIN_CONFIDENCE are not counted.

    >>> agreement([{"half": "l", "mouth": "l", "mouth_confidence": 0.9}, {"half": "r"}])
    (1, 0)
    """
    matches = [
        about["mouth"] == about["half"]
        for about in quality
        if about.get("mouth_confidence", 0) >= MIN_CONFIDENCE
    ]
    return sum(matches), len(matches) - sum(matches)


def _without_overlap(utterances: list[Utterance], sides: str) -> list[int]:
    """Return the first CHECKED utterances of each side that overlap no other, in order."""

    def alone(k: int) -> bool:
        start, end = utterances[k].start, utterances[k].end
        others = utterances[:k] + utterances[k + 1 :]
        return all(other.end <= start or other.start >= end for other in others)

    candidates = [
        k for k, u in enumerate(utterances) if SHORTEST <= u.end - u.start <= LONGEST and alone(k)
    ]
    chosen = []
    for side in "lr":
        chosen += [k for k in candidates if sides[k] == side][:CHECKED]
    return sorted(chosen)


@dataclass(frozen=True)
class _Half:
    """A recording with all of its sound and one half of its picture."""

    media: Media
    side: str

    @property
    def has_video(self) -> bool:
        return self.media.has_video

    @property
    def has_audio(self) -> bool:
        return self.media.has_audio

    def sound(self, start: float, end: float) -> np.ndarray:
        return self.media.sound(start, end)

    def warn(self, text: str) -> None:
        self.media.warn(text)

    def frames(self) -> Iterator[tuple[float, np.ndarray]]:
        for time, image in self.media.frames():
            middle = image.shape[1] // 2
            half = image[:, :middle] if self.side == "l" else image[:, middle:]
            yield time, np.ascontiguousarray(half)
