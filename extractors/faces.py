"""Follow faces through a stream of frames.

The detector searches the whole frame when a shot begins and then about once a second, less often
while it finds nothing new. In between it looks at the places of the known faces only, and from
frame to frame a box moves to where the face's own image matches best. A new face is looked at twice
before it is followed.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from extractors.detectors import LIKELY, SURE, Box, Detection, Detector
from extractors.orientation import OrientationCheck
from extractors.second_look import CERTAIN, is_face, look_closer, overlap
from extractors.tracks import MAX_MISSES, Track, match_tracks

__all__ = ["LOOK_EVERY", "MIN_SIDE", "SEARCH_EVERY", "FaceTracker"]

DETECTION_SIDE = 640  # pixels: frames are shrunk to this for the detector
FOLLOWING_SIDE = 320  # pixels: and to this between detections
MIN_SIDE = 20  # pixels of the longer side: a smaller crop shows no expression
MAX_FACES = 8  # followed at once, the largest
LOOK_EVERY = 3  # frames between two looks at the known faces
SEARCH_EVERY = 9  # frames between two searches of the whole frame
SEARCH_STEADY = 18  # frames, the same if the latest search found nothing new
MAX_LOOKS = 3  # faces; with more, a search costs no more than looks
MAX_GAP = 10  # frames after which a face that comes back is a new track
REFUSED_FOR = 3  # searches for which what is no face is not looked at again
SAME_PLACE = 0.5  # overlap of two boxes from which they are of the same thing
CUT = 24.0  # mean grey-level difference of thumbnails of neighbouring frames: a new shot


class FaceTracker:
    """Follow faces through frames in order of time. Memory does not grow with the video."""

    def __init__(self, detector: Detector) -> None:
        self.detector = detector
        self.too_small = 0  # faces of the latest search that are too small to use
        self.orientation = OrientationCheck(detector)
        self._count = self._frames = 0
        self.reset()

    def reset(self) -> None:
        """Forget all faces, at a new shot or after a gap in the frames."""
        self._tracks: list[Track] = []
        self._hidden: list[Track] = []
        # what is no face, and for how many searches it is not looked at again
        self._refused: list[tuple[Box, int]] = []
        self._thumbnail: np.ndarray | None = None
        self._since_search = self._since_look = 0
        self._interval = 0  # frames from the latest search to the next; 0: search at once
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
        self._frames += 1
        self._since_search += 1
        self._since_look += 1
        for track in self._hidden:
            track.gap += 1
        followed = [track.follow(small, scale) for track in self._tracks]
        if self._search_is_due(all(followed)) or (
            self._since_look >= LOOK_EVERY and not self._look(rgb, small, scale)
        ):
            self._search(rgb, small, scale)
        return list(self._tracks)

    def _search_is_due(self, followed: bool) -> bool:
        if not followed or self._since_search >= self._interval:
            return True
        few = 0 < len(self._tracks) <= MAX_LOOKS
        return not few and self._since_search >= LOOK_EVERY

    def _look(self, rgb: np.ndarray, small: np.ndarray, scale: float) -> bool:
        """Look at the places of the known faces; return whether all are still there."""
        self._since_look = 0
        for track in self._tracks:
            face = look_closer(self.detector, rgb, track.box)
            if face is None or face.score < LIKELY:
                return False
            track.renew(face, small, scale)
        return True

    def _search(self, rgb: np.ndarray, small: np.ndarray, scale: float) -> None:
        """Search the frame, and continue, start and end tracks with what is found."""
        detections = self._usable_detections(rgb)
        known = self._tracks + self._hidden
        track_of = match_tracks(known, detections)
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
            track.renew(face, small, scale)
            visible.append(track)
        matched = set(track_of.values())
        for i, track in enumerate(self._tracks):
            if i not in matched and track.misses < MAX_MISSES:
                track.misses += 1
                visible.append(track)
        visible.sort(key=lambda track: -track.box[2] * track.box[3])
        self._hidden = [track for track in known if track not in visible and track.gap < MAX_GAP]
        steady = set(visible[:MAX_FACES]) == set(self._tracks) and self.orientation.clear
        self._interval = SEARCH_STEADY if self._interval and steady else SEARCH_EVERY
        self._tracks = visible[:MAX_FACES]
        self._since_search = self._since_look = 0

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
        score = max((face.score for face in detections), default=0.0)
        self.orientation.add(self._frames, image, score)
        return usable


def _count_sure(detections: Sequence[Detection]) -> int:
    return sum(face.score >= SURE for face in detections)


def _shrink(image: np.ndarray, scale: float) -> np.ndarray:
    if scale >= 1:
        return image
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
