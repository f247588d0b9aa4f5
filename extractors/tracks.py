"""One followed face, and how its box moves between two detections.

The box moves to where the face's own image matches best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from extractors.detectors import Box, Detection
from extractors.second_look import overlap

__all__ = ["MAX_MISSES", "Track", "match_tracks"]

MAX_MISSES = 2  # detections in a row that may miss a face which still matches its image
MIN_MATCH = 0.6  # correlation of a face with its image; below, the detector runs
STEADY_OVERLAP = 0.7  # overlap of box and detection from which both are averaged
CONTINUED = 0.3  # overlap of box and detection from which they are of the same face


@dataclass(eq=False)
class Track:
    """One face through one shot. Box, score and roll are those of the latest frame."""

    number: int
    box: Box
    score: float
    roll: float = 0.0
    misses: int = 0  # detections in a row that missed it
    gap: int = 0  # frames since it was last visible
    image: np.ndarray | None = None  # grey, shrunk, from the latest detection

    def renew(self, face: Detection, small: np.ndarray, scale: float) -> None:
        """Take over what the detector found. small: the frame, grey, shrunk by `scale`."""
        self.box = _steady(self.box, face.box)
        self.score, self.roll = face.score, face.roll
        self.misses = self.gap = 0
        self.image = _inner_image(small, self.box, scale)

    def follow(self, small: np.ndarray, scale: float) -> bool:
        """Move the box to where its image is now; return False if it matches nowhere near."""
        if self.image is None:
            return False
        rows, columns = self.image.shape
        x, y, width, height = (value * scale for value in self.box)
        left, top = max(0, round(x + 0.1 * width)), max(0, round(y + 0.1 * height))
        reach = max(3, round(0.25 * max(width, height)))
        x0, y0 = max(0, left - reach), max(0, top - reach)
        window = small[y0 : top + rows + reach, x0 : left + columns + reach]
        if window.shape[0] < rows or window.shape[1] < columns:
            return False
        match = cv2.matchTemplate(window, self.image, cv2.TM_CCOEFF_NORMED)
        _, best, _, (dx, dy) = cv2.minMaxLoc(match)
        if not best >= MIN_MATCH:  # "not >=" because a uniform image gives NaN
            self.misses = MAX_MISSES
            return False
        right = x0 + dx - left + _peak(match[dy, dx - 1 : dx + 2])
        down = y0 + dy - top + _peak(match[dy - 1 : dy + 2, dx])
        self.box = (self.box[0] + right / scale, self.box[1] + down / scale, *self.box[2:])
        return True


def match_tracks(tracks: Sequence[Track], detections: Sequence[Detection]) -> dict[int, int]:
    """Match detections to tracks, the largest overlap first: index of detection -> of track."""
    pairs = []
    for i, track in enumerate(tracks):
        for j, face in enumerate(detections):
            pairs.append((overlap(track.box, face.box), i, j))
    track_of: dict[int, int] = {}
    for shared, i, j in sorted(pairs, reverse=True):
        if shared >= CONTINUED and i not in track_of.values() and j not in track_of:
            track_of[j] = i
    return track_of


def _inner_image(small: np.ndarray, box: Box, scale: float) -> np.ndarray | None:
    """Cut out the middle of a face (its edge is background); None outside the frame."""
    x, y, width, height = (value * scale for value in box)
    left, top = max(0, round(x + 0.1 * width)), max(0, round(y + 0.1 * height))
    right, bottom = max(0, round(x + 0.9 * width)), max(0, round(y + 0.9 * height))
    part = small[top:bottom, left:right]
    return part.copy() if min(part.shape) >= 5 else None


def _peak(values: np.ndarray) -> float:
    """Return the offset of the top of the parabola through three neighbours.

    Without this, the crop would jump by whole pixels, which hides the motion of the mouth.
    """
    if len(values) != 3:
        return 0.0
    before, top, after = (float(value) for value in values)
    bend = before - 2 * top + after
    return 0.5 * (before - after) / bend if bend < 0 else 0.0


def _steady(followed: Box, detected: Box) -> Box:
    """Average both boxes if they agree: detectors jitter by a few percent."""
    if overlap(followed, detected) < STEADY_OVERLAP:
        return detected
    x, y, width, height = ((a + b) / 2 for a, b in zip(followed, detected, strict=True))
    return x, y, width, height
