"""How sharp a picture of a face is: motion and poor focus hide an expression."""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["sharpness"]

SMOOTHING = 0.7  # pixels; noise below this scale is no detail
LEAST_VARIANCE = 25.0  # of grey levels; below, a crop is nearly uniform


def sharpness(crops: np.ndarray) -> np.ndarray:
    """Return the fine detail of crops, (n, h, w) uint8, relative to their contrast: (n,) float64.

    The mean square of the Laplacian over the variance, so it does not depend on the light.

    >>> steps = np.repeat(np.array([[[0, 200] * 24]], np.uint8), 48, axis=1)
    >>> blurred = cv2.GaussianBlur(steps[0], (0, 0), 0.5)[None]
    >>> bool(sharpness(steps)[0] > sharpness(blurred)[0] > 0)
    True
    """
    values = []
    for crop in crops.astype(np.float32):
        detail = cv2.Laplacian(cv2.GaussianBlur(crop, (0, 0), SMOOTHING), cv2.CV_32F)
        values.append(np.square(detail).mean(dtype=np.float64) / max(crop.var(), LEAST_VARIANCE))
    return np.array(values)
