"""Look closer at one place: is a new face a face, and where is a known one now?

The detector takes a lamp, a hand or the back of a head for a face now and then, with a low score
and mostly at one scale and in one position. A face is found again, closer and in the mirror.
A closer look takes a tenth of the time of a search of the whole frame.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from extractors.detectors import Box, Detection, Detector
from extractors.squares import sample_square

__all__ = ["CERTAIN", "is_face", "look_closer", "overlap"]

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
    picture, expected, _ = _closer(rgb, face.box)
    total = 0.0
    for view in (picture, picture[:, ::-1]):
        found = detector.detect(np.ascontiguousarray(view))
        same = [other.score for other in found if overlap(other.box, expected) >= SAME]
        total += max(same, default=0.0)
    return total / 2 >= AGAIN


def look_closer(detector: Detector, rgb: np.ndarray, box: Box) -> Detection | None:
    """Return the face at the place of a known one, in pixels of the frame; None if there is none.

    rgb: (h, w, 3) uint8, the frame. box: of the face in the frame before.
    """
    picture, expected, zoom = _closer(rgb, box)
    faces = detector.detect(picture)
    face = max(faces, key=lambda face: overlap(face.box, expected), default=None)
    if face is None or overlap(face.box, expected) < SAME:
        return None
    left, top = box[0] - zoom * expected[0], box[1] - zoom * expected[1]
    x, y, width, height = (zoom * value for value in face.box)
    eyes = face.eyes and tuple((left + zoom * u, top + zoom * v) for u, v in face.eyes)
    return Detection((left + x, top + y, width, height), face.score, eyes)  # type: ignore[arg-type]


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Return intersection over union of two boxes.

    >>> overlap((0, 0, 2, 2), (1, 0, 2, 2))
    0.3333333333333333
    """
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    return shared / (one[2] * one[3] + other[2] * other[3] - shared) if shared else 0.0


def _closer(rgb: np.ndarray, box: Box) -> tuple[np.ndarray, Box, float]:
    """Cut a square with a face in its middle out of a frame, and bring it to SIDE pixels.

    Returns:
        The picture, where the box is in it, and pixels of the frame per pixel of it.
    """
    x, y, width, height = box
    length = ROOM * max(width, height)
    big = max(SIDE, round(length))  # sample at full resolution, then average down
    zoom = length / big
    left, top = x + width / 2 - length / 2, y + height / 2 - length / 2
    picture = sample_square(rgb, np.array([[zoom, 0, left], [0, zoom, top]]), big, SIDE)
    wide, high = SIDE / length * width, SIDE / length * height
    return picture, ((SIDE - wide) / 2, (SIDE - high) / 2, wide, high), length / SIDE
