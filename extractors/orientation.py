"""Notice a picture that lies on its side although the file does not say so.

Detectors find turned faces too, but with lower scores, so a few frames are searched in all four
orientations.
"""

from __future__ import annotations

import numpy as np

from extractors.detectors import SURE, Detector

__all__ = ["OrientationCheck"]

CLEARLY_UPRIGHT = 0.9  # score of a face that is upright; of turned faces, 0.87 is the highest seen
MARGIN = 0.04  # by which a turned face must score higher than the upright one
EVERY = 9  # frames between two checks: 0.9 s at 10 frames/s
MAX_CHECKS = 12  # frames that are searched in all orientations
MIN_FRAMES = 3  # frames with turned faces needed


class OrientationCheck:
    """Count in which orientation faces are found."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._checks = self._upright = 0
        self._next = 0  # number of the frame from which the next check may be
        self.clear = False  # whether the latest face was upright, or nothing is left to check
        self._turned = [0, 0, 0]

    def add(self, number: int, image: np.ndarray, score: float) -> None:
        """Take a searched frame and the highest score of the faces found in it.

        number: of the frame. image: (h, w, 3) uint8 RGB.
        """
        self.clear = score >= CLEARLY_UPRIGHT or self._checks >= MAX_CHECKS
        if score >= CLEARLY_UPRIGHT:
            self._upright += 1
        elif self._checks < MAX_CHECKS and number >= self._next:
            self._checks += 1
            self._next = number + EVERY
            scores = []
            for quarters in (1, 2, 3):
                faces = self._detector.detect(np.ascontiguousarray(np.rot90(image, quarters)))
                scores.append(max((face.score for face in faces), default=0.0))
            best = int(np.argmax(scores))
            if scores[best] >= max(SURE, score + MARGIN):
                self._turned[best] += 1
            elif score >= SURE:
                self._upright += 1

    @property
    def turned(self) -> int:
        """Degrees, counter-clockwise, by which faces must be turned; 0 if they are upright."""
        most = max(self._turned)
        if most < MIN_FRAMES or 2 * most <= sum(self._turned) + self._upright:
            return 0
        return 90 * (self._turned.index(most) + 1)
