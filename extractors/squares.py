"""Squares cut out of pictures, turned and scaled."""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["sample_square"]


def sample_square(image: np.ndarray, matrix: np.ndarray, size: int, side: int) -> np.ndarray:
    """Sample a square of `size` pixels a side from an image, and shrink it to (side, side).

    image: (h, w) or (h, w, 3) uint8. matrix: (2, 3), from pixels of the square to those of the
    image.

    Beyond the image, the edge is repeated. Shrinking averages.
    """
    square = cv2.warpAffine(
        image,
        matrix,
        (size, size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return (
        square if size == side else cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA)
    )
