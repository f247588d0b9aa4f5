"""How sharp a picture of a face is: motion and poor focus hide an expression."""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["sharpness", "sharpest"]

SMOOTHING = 0.7  # pixels; noise below this scale is no detail
LEAST_VARIANCE = 25.0  # of grey levels; below, a crop is nearly uniform
FEW = 4  # frames up to which every one is used
MOST = 32  # frames that are used


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


def sharpest(values: np.ndarray) -> np.ndarray:
    """Choose frames to look at: the indices of the sharpest of every four neighbours, in order.

    values: (n,) sharpness of successive frames. Neighbouring frames show nearly the same
    expression. Of a few frames, more are chosen, FEW at most; of many, MOST at most.

    >>> sharpest(np.array([3, 1, 1, 2, 5, 4, 1, 1, 1.0] * 2)).tolist()
    [0, 4, 9, 13, 16]
    """
    chosen = np.arange(len(values))
    enough = min(MOST, max(FEW, -(-len(values) // 4)))
    while len(chosen) > enough:
        pairs = [chosen[k : k + 2] for k in range(0, len(chosen), 2)]
        chosen = np.array([pair[values[pair].argmax()] for pair in pairs])
    return chosen
