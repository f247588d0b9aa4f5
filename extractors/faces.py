"""Faces in a stream of frames: tracks, and grey crops.

Detection runs every few frames; between detections a box is moved to where its own picture matches best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from extractors.detectors import LIKELY, SURE, Box, Detector, Face

__all__ = ["CROP", "FaceTracker", "Track", "crop_face"]

DETECTION_SIDE = 640  # frames are shrunk to this for the detector
FOLLOWING_SIDE = 320  # and to this between detections
SMALLEST = 20  # pixels of the longer side: below, a crop holds no expression
MOST = 8  # faces followed at once, the largest
EVERY = 3  # detect on every third frame
LOST = 10  # frames after which a face that comes back is another track
MISSES = 2  # detections in a row that may miss a face which still looks the same
SAME = 0.6  # correlation of a face with its picture; below, the detector is asked
CALM = 0.7  # overlap from which a detection only corrects where a face was followed to
CUT = 24.0  # mean grey difference between thumbnails of neighbouring frames: another shot
CROP = 48  # pixels, as the network's training images
MARGIN = 1.15  # side of the crop over the longer side of the box


@dataclass(eq=False)
class Track:
    """One face through one shot; box and score are those of the latest frame."""

    number: int
    box: Box
    score: float
    roll: float = 0.0
    misses: int = 0
    away: int = 0  # frames since it was last seen
    picture: np.ndarray | None = field(
        default=None, repr=False
    )  # grey, following scale, from the last detection


class FaceTracker:
    """Frames in order of time to the faces in each.  State is one frame's worth, however long the video."""

    def __init__(self, detector: Detector) -> None:
        self.detector = detector
        self.small = 0  # faces of the latest detection that are too small to use
        self._count = 0
        self.reset()

    def reset(self) -> None:
        """Forget all faces: another shot, or a gap in the frames."""
        self._tracks: list[Track] = []
        self._lost: list[Track] = []
        self._thumbnail: np.ndarray | None = None
        self._since = EVERY
        self.small = 0

    def update(self, rgb: np.ndarray, grey: np.ndarray) -> list[Track]:
        """rgb (h, w, 3) uint8 and its grey version (h, w) to the tracks seen in this frame."""
        scale = min(1.0, FOLLOWING_SIDE / max(grey.shape))
        little = _shrink(grey, scale)
        thumbnail = cv2.resize(little, (32, 18), interpolation=cv2.INTER_AREA).astype(np.float32)
        if self._thumbnail is not None and np.abs(thumbnail - self._thumbnail).mean() > CUT:
            self.reset()
        self._thumbnail = thumbnail
        self._since += 1
        for track in self._lost:
            track.away += 1
        kept = [_follow(track, little, scale) for track in self._tracks]
        if self._since >= EVERY or not all(kept):
            self._since = 0
            self._detect(rgb, little, scale)
        return list(self._tracks)

    def _detect(self, rgb: np.ndarray, little: np.ndarray, scale: float) -> None:
        shrink = min(1.0, DETECTION_SIDE / max(rgb.shape[:2]))
        faces = self.detector.detect(np.ascontiguousarray(_shrink(rgb, shrink)))
        faces = [Face(tuple(v / shrink for v in face.box), face.score, face.eyes) for face in faces]  # type: ignore[misc]
        large = [face for face in faces if max(face.box[2:]) >= SMALLEST and face.score >= LIKELY]
        self.small = sum(face.score >= SURE for face in faces) - sum(
            face.score >= SURE for face in large
        )
        known = self._tracks + self._lost
        pairs = sorted(
            (
                (_overlap(track.box, face.box), i, j)
                for i, track in enumerate(known)
                for j, face in enumerate(large)
            ),
            reverse=True,
        )
        owner: dict[int, int] = {}  # face -> track
        for overlap, i, j in pairs:
            if overlap >= 0.3 and i not in owner.values() and j not in owner:
                owner[j] = i
        seen: list[Track] = []
        for j, face in enumerate(large):
            if j not in owner and face.score < SURE:
                continue
            if j not in owner:
                self._count += 1
            track = known[owner[j]] if j in owner else Track(self._count, face.box, face.score)
            track.box, track.score, track.roll = _calmed(track.box, face.box), face.score, face.roll
            track.misses = track.away = 0
            track.picture = _cut_out(little, track.box, scale)
            seen.append(track)
        for i, track in enumerate(self._tracks):
            if i not in owner.values() and track.misses < MISSES:
                track.misses += 1
                seen.append(track)
        seen.sort(key=lambda track: -track.box[2] * track.box[3])
        self._lost = [track for track in known if track not in seen and track.away < LOST]
        self._tracks = seen[:MOST]


def crop_face(grey: np.ndarray, box: Box, roll: float = 0.0, side: int = CROP) -> np.ndarray:
    """(h, w) uint8 to (side, side): a square of 1.15 x the longer side of the box, upright where roll is known.

    Beyond the frame the edge is repeated.  Shrinking averages, as the training images were made.
    """
    x, y, width, height = box
    length = MARGIN * max(width, height)
    centre = (x + width / 2, y + height / 2)
    big = max(side, round(length))  # source pixels one to one, then averaged down
    zoom = length / big
    cos, sin = np.cos(roll) * zoom, np.sin(roll) * zoom
    half = (big - 1) / 2
    matrix = np.array(
        [
            [cos, -sin, centre[0] - 0.5 - half * (cos - sin)],
            [sin, cos, centre[1] - 0.5 - half * (sin + cos)],
        ]
    )
    square = cv2.warpAffine(
        grey,
        matrix,
        (big, big),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return square if big == side else cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA)


def _shrink(image: np.ndarray, scale: float) -> np.ndarray:
    if scale >= 1:
        return image
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _cut_out(little: np.ndarray, box: Box, scale: float) -> np.ndarray | None:
    """The middle of a face (its edge is background), or None outside the frame."""
    x, y, width, height = (value * scale for value in box)
    left, top = max(0, round(x + 0.1 * width)), max(0, round(y + 0.1 * height))
    part = little[top : max(0, round(y + 0.9 * height)), left : max(0, round(x + 0.9 * width))]
    return part.copy() if min(part.shape) >= 5 else None


def _follow(track: Track, little: np.ndarray, scale: float) -> bool:
    """Move the box to where its picture is now; False when it is nowhere near."""
    if track.picture is None:
        return False
    x, y, width, height = (value * scale for value in track.box)
    left, top = max(0, round(x + 0.1 * width)), max(0, round(y + 0.1 * height))
    reach = max(3, round(0.25 * max(width, height)))
    x0, y0 = max(0, left - reach), max(0, top - reach)
    window = little[
        y0 : top + track.picture.shape[0] + reach, x0 : left + track.picture.shape[1] + reach
    ]
    if window.shape[0] < track.picture.shape[0] or window.shape[1] < track.picture.shape[1]:
        return False
    match = cv2.matchTemplate(window, track.picture, cv2.TM_CCOEFF_NORMED)
    _, best, _, (dx, dy) = cv2.minMaxLoc(match)
    if not best >= SAME:  # also when NaN: a flat picture
        track.misses = MISSES
        return False
    right = x0 + dx - left + _peak(match[dy, dx - 1 : dx + 2])
    down = y0 + dy - top + _peak(match[dy - 1 : dy + 2, dx])
    track.box = (track.box[0] + right / scale, track.box[1] + down / scale, *track.box[2:])
    return True


def _peak(values: np.ndarray) -> float:
    """Offset of the top of the parabola through three neighbours: a crop that jumps by pixels hides the mouth."""
    if len(values) != 3:
        return 0.0
    before, top, after = (float(value) for value in values)
    bend = before - 2 * top + after
    return 0.5 * (before - after) / bend if bend < 0 else 0.0


def _calmed(old: Box, new: Box) -> Box:
    """A detection half way to where the face was followed to, when both agree: detectors jitter by a few percent."""
    if _overlap(old, new) < CALM:
        return new
    return tuple((a + b) / 2 for a, b in zip(old, new, strict=True))  # type: ignore[return-value]


def _overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    return shared / (one[2] * one[3] + other[2] * other[3] - shared) if shared else 0.0
