"""Follow faces through a stream of frames, and crop them.

Detection runs every few frames. Between detections, a box moves to where the face's own image
matches best. A new face is looked at twice before it is followed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from extractors.detectors import LIKELY, SURE, Box, Detection, Detector
from extractors.orientation import OrientationCheck
from extractors.second_look import CERTAIN, is_face, overlap
from extractors.squares import sample_square

__all__ = ["CROP_SIDE", "FaceTracker", "Track", "crop_face"]

DETECTION_SIDE = 640  # pixels: frames are shrunk to this for the detector
FOLLOWING_SIDE = 320  # pixels: and to this between detections
MIN_SIDE = 20  # pixels of the longer side: a smaller crop shows no expression
MAX_FACES = 8  # followed at once, the largest
DETECT_EVERY = 3  # frames
MAX_GAP = 10  # frames after which a face that comes back is a new track
REFUSED_FOR = 3  # detections for which what is no face is not looked at again
SAME_PLACE = 0.5  # overlap of two boxes from which they are of the same thing
MAX_MISSES = 2  # detections in a row that may miss a face which still matches its image
MIN_MATCH = 0.6  # correlation of a face with its image; below, the detector runs
STEADY_OVERLAP = 0.7  # overlap of box and detection from which both are averaged
CUT = 24.0  # mean grey-level difference of thumbnails of neighbouring frames: a new shot
CROP_SIDE = 48  # pixels, as the images that the network was trained on
MARGIN = 1.15  # side of the crop over the longer side of the box


@dataclass(eq=False)
class Track:
    """One face through one shot. Box, score and roll are those of the latest frame."""

    number: int
    box: Box
    score: float
    roll: float = 0.0
    misses: int = 0  # detections in a row that missed it
    gap: int = 0  # frames since it was last visible
    image: np.ndarray | None = None  # grey, FOLLOWING_SIDE scale, from the latest detection


class FaceTracker:
    """Follow faces through frames in order of time. Memory does not grow with the video."""

    def __init__(self, detector: Detector) -> None:
        self.detector = detector
        self.too_small = 0  # faces of the latest detection that are too small to use
        self.orientation = OrientationCheck(detector)
        self._count = 0
        self.reset()

    def reset(self) -> None:
        """Forget all faces, at a new shot or after a gap in the frames."""
        self._tracks: list[Track] = []
        self._hidden: list[Track] = []
        # what is no face, and for how many detections it is not looked at again
        self._refused: list[tuple[Box, int]] = []
        self._thumbnail: np.ndarray | None = None
        self._since_detection = DETECT_EVERY
        self.too_small = 0

    def update(self, rgb: np.ndarray, grey: np.ndarray) -> list[Track]:
        """Return the tracks visible in the next frame, the largest first.

        rgb: (h, w, 3) uint8. grey: the same frame, (h, w) uint8.
        """
        scale = min(1.0, FOLLOWING_SIDE / max(grey.shape))
        small = _shrink(grey, scale)
        thumbnail = cv2.resize(small, (32, 18), interpolation=cv2.INTER_AREA).astype(np.float32)
        if self._thumbnail is not None and np.abs(thumbnail - self._thumbnail).mean() > CUT:
            self.reset()
        self._thumbnail = thumbnail
        self._since_detection += 1
        for track in self._hidden:
            track.gap += 1
        followed = [_follow(track, small, scale) for track in self._tracks]
        if self._since_detection >= DETECT_EVERY or not all(followed):
            self._since_detection = 0
            self._detect(rgb, small, scale)
        return list(self._tracks)

    def _detect(self, rgb: np.ndarray, small: np.ndarray, scale: float) -> None:
        """Run the detector, and continue, start and end tracks with what it returns."""
        detections = self._usable_detections(rgb)
        known = self._tracks + self._hidden
        track_of = _match(known, detections)
        visible: list[Track] = []
        self._refused = [(box, left - 1) for box, left in self._refused if left > 1]
        for j, face in enumerate(detections):
            if j in track_of:
                track = known[track_of[j]]
            elif face.score >= SURE and self._is_new_face(rgb, face):
                self._count += 1
                track = Track(self._count, face.box, face.score)
            else:
                continue
            track.box = _steady(track.box, face.box)
            track.score, track.roll = face.score, face.roll
            track.misses = track.gap = 0
            track.image = _inner_image(small, track.box, scale)
            visible.append(track)
        matched = set(track_of.values())
        for i, track in enumerate(self._tracks):
            if i not in matched and track.misses < MAX_MISSES:
                track.misses += 1
                visible.append(track)
        visible.sort(key=lambda track: -track.box[2] * track.box[3])
        self._hidden = [track for track in known if track not in visible and track.gap < MAX_GAP]
        self._tracks = visible[:MAX_FACES]

    def _is_new_face(self, rgb: np.ndarray, face: Detection) -> bool:
        refused = any(overlap(face.box, box) >= SAME_PLACE for box, _ in self._refused)
        if refused and face.score < CERTAIN:
            return False
        found = is_face(self.detector, rgb, face)
        if not found:
            self._refused.append((face.box, REFUSED_FOR))
        return found

    def _usable_detections(self, rgb: np.ndarray) -> list[Detection]:
        """Return likely faces of at least MIN_SIDE pixels, and count those that are smaller."""
        shrink = min(1.0, DETECTION_SIDE / max(rgb.shape[:2]))
        detections = []
        image = np.ascontiguousarray(_shrink(rgb, shrink))
        for face in self.detector.detect(image):
            x, y, width, height = (value / shrink for value in face.box)
            detections.append(Detection((x, y, width, height), face.score, face.eyes))
        usable = [
            face for face in detections if max(face.box[2:]) >= MIN_SIDE and face.score >= LIKELY
        ]
        self.too_small = _count_sure(detections) - _count_sure(usable)
        self.orientation.add(image, max((face.score for face in detections), default=0.0))
        return usable


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


def _match(tracks: Sequence[Track], detections: Sequence[Detection]) -> dict[int, int]:
    """Match detections to tracks, the largest overlap first: index of detection -> of track."""
    pairs = []
    for i, track in enumerate(tracks):
        for j, face in enumerate(detections):
            pairs.append((overlap(track.box, face.box), i, j))
    track_of: dict[int, int] = {}
    for shared, i, j in sorted(pairs, reverse=True):
        if shared >= 0.3 and i not in track_of.values() and j not in track_of:
            track_of[j] = i
    return track_of


def _count_sure(detections: Sequence[Detection]) -> int:
    return sum(face.score >= SURE for face in detections)


def _shrink(image: np.ndarray, scale: float) -> np.ndarray:
    if scale >= 1:
        return image
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _inner_image(small: np.ndarray, box: Box, scale: float) -> np.ndarray | None:
    """Cut out the middle of a face (its edge is background); None outside the frame."""
    x, y, width, height = (value * scale for value in box)
    left, top = max(0, round(x + 0.1 * width)), max(0, round(y + 0.1 * height))
    right, bottom = max(0, round(x + 0.9 * width)), max(0, round(y + 0.9 * height))
    part = small[top:bottom, left:right]
    return part.copy() if min(part.shape) >= 5 else None


def _follow(track: Track, small: np.ndarray, scale: float) -> bool:
    """Move the box to where its image is now; return False if it matches nowhere near."""
    if track.image is None:
        return False
    rows, columns = track.image.shape
    x, y, width, height = (value * scale for value in track.box)
    left, top = max(0, round(x + 0.1 * width)), max(0, round(y + 0.1 * height))
    reach = max(3, round(0.25 * max(width, height)))
    x0, y0 = max(0, left - reach), max(0, top - reach)
    window = small[y0 : top + rows + reach, x0 : left + columns + reach]
    if window.shape[0] < rows or window.shape[1] < columns:
        return False
    match = cv2.matchTemplate(window, track.image, cv2.TM_CCOEFF_NORMED)
    _, best, _, (dx, dy) = cv2.minMaxLoc(match)
    if not best >= MIN_MATCH:  # "not >=" because a uniform image gives NaN
        track.misses = MAX_MISSES
        return False
    right = x0 + dx - left + _peak(match[dy, dx - 1 : dx + 2])
    down = y0 + dy - top + _peak(match[dy - 1 : dy + 2, dx])
    track.box = (track.box[0] + right / scale, track.box[1] + down / scale, *track.box[2:])
    return True


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
