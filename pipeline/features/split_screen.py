"""A split screen: each speaker's half of the picture, and whether mouths say that it is theirs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline.core.dialogue import Segmentation, Utterance
from pipeline.features.compute import DialogueFeatures, features_of
from pipeline.media.decode import Media

__all__ = ["SURE", "SidedFeatures", "agreement"]

SURE = 0.7  # confidence in who speaks from which an utterance votes; of two speakers side by side it is right in .94
LOOKED_AT = 8  # utterances of each side that are looked at
SHORTEST, LONGEST = 1.0, 8.0  # seconds of those


@dataclass(frozen=True)
class SidedFeatures:
    """`features_of` for pictures of two halves; sides: "l" or "r" for each utterance.

    The quality tells the `half`, and of some utterances where a mouth moved with the sound, looking at both halves:
    `mouth` ("l", "r") and `mouth_confidence`.
    """

    sides: str

    def __call__(
        self, media: Media, segmentation: Segmentation, extractors: dict[str, Any]
    ) -> DialogueFeatures:
        ((modality, extractor),) = extractors.items()
        said = segmentation.utterances
        vectors = np.full((len(said), extractor.dim), np.nan, np.float32)
        quality: list[dict[str, Any]] = [{} for _ in said]
        for side in sorted(set(self.sides)):
            rows = [k for k, own in enumerate(self.sides) if own == side]
            part = replace(segmentation, utterances=[said[k] for k in rows])
            found = features_of(_Half(media, side), part, extractors)  # type: ignore[arg-type]
            vectors[rows] = found.vectors[modality]
            for row, about in zip(rows, found.quality[modality], strict=True):
                quality[row] = about | {"half": side}
        for row, about in self._mouths(media, said, extractor).items():
            quality[row] |= about
        return DialogueFeatures(
            {modality: vectors}, {modality: quality}, {modality: extractor.fingerprint}
        )

    def _mouths(
        self, media: Media, said: list[Utterance], extractor: Any
    ) -> dict[int, dict[str, Any]]:
        rows = _alone(said, self.sides)
        if not (rows and media.has_audio and media.has_video):
            return {}
        readings = extractor.read(
            media.frames(), [(said[k].start, said[k].end) for k in rows], media.sound
        )
        return {
            k: {
                "mouth": "l" if reading.centre[0] < 0.5 else "r",
                "mouth_confidence": round(reading.confidence, 3),
            }
            for k, reading in zip(rows, readings, strict=True)
            if reading.centre
        }


def agreement(quality: list[dict[str, Any]]) -> tuple[int, int]:
    """(utterances whose moving mouth is in the speaker's half, in the other), of those that are sure."""
    sure = [
        about["mouth"] == about["half"]
        for about in quality
        if about.get("mouth_confidence", 0) >= SURE
    ]
    return sum(sure), len(sure) - sum(sure)


def _alone(said: list[Utterance], sides: str) -> list[int]:
    """The first utterances of each side that nobody speaks into, neither short nor long."""

    def free(k: int) -> bool:
        return all(
            other.end <= said[k].start or other.start >= said[k].end
            for j, other in enumerate(said)
            if j != k
        )

    fit = [k for k, u in enumerate(said) if SHORTEST <= u.end - u.start <= LONGEST and free(k)]
    return sorted(k for side in "lr" for k in [k for k in fit if sides[k] == side][:LOOKED_AT])


@dataclass(frozen=True)
class _Half:
    """A medium of which one half is seen and all is heard."""

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

    def frames(self) -> Iterator[tuple[float, np.ndarray]]:
        for time, image in self.media.frames():
            middle = image.shape[1] // 2
            yield (
                time,
                np.ascontiguousarray(image[:, :middle] if self.side == "l" else image[:, middle:]),
            )
