"""Cut faces out of frames."""

from __future__ import annotations

import numpy as np

from extractors.detectors import Box
from extractors.squares import sample_square

__all__ = ["CROP_SIDE", "MARGIN", "crop_face"]

CROP_SIDE = 48  # pixels, as the images that the network was trained on
MARGIN = 1.15  # side of the crop over the longer side of the box


def crop_face(grey: np.ndarray, box: Box, roll: float = 0.0, side: int = CROP_SIDE) -> np.ndarray:
    """Crop a face to (side, side) uint8: a square of 1.15 times the longer side of the box.

    grey: (h, w) uint8. roll: angle by which the face is turned upright, radians.

    Beyond the frame, the edge is repeated. Shrinking averages, as for the training images.
    """
    x, y, width, height = box
    length = MARGIN * max(width, height)
    centre = (x + width / 2, y + height / 2)
    big = max(side, round(length))  # sample at full resolution, then average down
    zoom = length / big
    cos, sin = np.cos(roll) * zoom, np.sin(roll) * zoom
    half = (big - 1) / 2
    matrix = np.array(
        [
            [cos, -sin, centre[0] - 0.5 - half * (cos - sin)],
            [sin, cos, centre[1] - 0.5 - half * (sin + cos)],
        ]
    )
    return sample_square(grey, matrix, big, side)
