"""What is known about the speaker's face in one utterance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from extractors.face_span import SpanBox

__all__ = ["FaceReading", "mean_picture"]


@dataclass(frozen=True)
class FaceReading:
    """The face of one utterance.

    vector: (342,) float32, or None, and then `missing` says why.
    """

    vector: np.ndarray | None
    missing: str | None = None
    frames: int = 0  # in the utterance
    faces: int = 0  # of them with the chosen face
    used: int = 0  # of them in the mean
    tracks: int = 0  # faces followed
    confidence: float = 0.0  # that the chosen face is the speaker's
    score: float = 0.0  # mean detector score, 0 to 1
    side: float = 0.0  # mean longer side of the box, pixels
    # mean centre of the box, as shares of the frame's width and height
    centre: tuple[float, float] | None = None
    detector: str = ""
    boxes: tuple[SpanBox, ...] = ()  # of the chosen face, about every half second
    # degrees, counter-clockwise, by which the faces of the recording must be turned to be upright
    turned: int = 0
    # (144,) mean crop at 12 x 12 pixels, of mean 0 and length 1
    picture: np.ndarray | None = field(default=None, repr=False)

    def quality(self) -> dict[str, Any]:
        """Return all but the vector, the boxes and the picture (JSON-able)."""
        quality = {
            "missing": self.missing,
            "frames": self.frames,
            "faces": self.faces,
            "used": self.used,
            "tracks": self.tracks,
            "confidence": round(self.confidence, 3),
            "score": round(self.score, 3),
            "side": round(self.side, 1),
            "centre": self.centre and [round(share, 3) for share in self.centre],
            "detector": self.detector,
        }
        return quality | ({"turned": self.turned} if self.turned else {})


def mean_picture(crops: Sequence[np.ndarray] | np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the (144,) mean crop at 12 x 12 pixels, of mean 0 and length 1."""
    mean = np.average(np.asarray(crops), axis=0, weights=weights)
    picture = cv2.resize(mean, (12, 12), interpolation=cv2.INTER_AREA).ravel()
    picture -= picture.mean()
    return picture / max(float(np.linalg.norm(picture)), 1e-9)
