"""Look at a new face again, closer and in the mirror.

The detector takes a lamp, a hand or the back of a head for a face now and then, with a low score
and mostly at one scale and in one position. A face is found again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from extractors.detectors import Detection, Detector
from extractors.squares import sample_square

__all__ = ["CERTAIN", "is_face", "overlap"]

CERTAIN = 0.8  # score from which one look is enough
AGAIN = 0.6  # least mean score of the two further looks
ROOM = 2.0  # side of the closer picture over the longer side of the box
SIDE = 160  # pixels of it
SAME = 0.3  # overlap of two boxes from which they are of the same face


def is_face(detector: Detector, rgb: np.ndarray, face: Detection) -> bool:
    """Return whether a new face is certain, or found again in a closer picture and in the mirror.

    rgb: (h, w, 3) uint8, the frame. Beyond its edges, they are repeated. face: in its pixels.
    """
    if face.score >= CERTAIN:
        return True
    x, y, width, height = face.box
    length = ROOM * max(width, height)
    picture = _cut(rgb, (x + width / 2, y + height / 2), length)
    wide, high = SIDE / length * width, SIDE / length * height
    expected = ((SIDE - wide) / 2, (SIDE - high) / 2, wide, high)
    total = 0.0
    for view in (picture, picture[:, ::-1]):
        found = detector.detect(np.ascontiguousarray(view))
        same = [other.score for other in found if overlap(other.box, expected) >= SAME]
        total += max(same, default=0.0)
    return total / 2 >= AGAIN


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Return intersection over union of two boxes.

    >>> overlap((0, 0, 2, 2), (1, 0, 2, 2))
    0.3333333333333333
    """
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    return shared / (one[2] * one[3] + other[2] * other[3] - shared) if shared else 0.0


def _cut(rgb: np.ndarray, centre: tuple[float, float], length: float) -> np.ndarray:
    """Cut a square of `length` pixels out of a frame and bring it to SIDE."""
    big = max(SIDE, round(length))  # sample at full resolution, then average down
    zoom = length / big
    left, top = centre[0] - length / 2, centre[1] - length / 2
    matrix = np.array([[zoom, 0, left], [0, zoom, top]])
    return sample_square(rgb, matrix, big, SIDE)
