"""Collect the faces of successive frames for the utterances in progress."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from extractors.crops import crop_face
from extractors.face_span import FaceSpan
from extractors.faces import MIN_SIDE, FaceTracker
from extractors.speaking import MouthReader
from pipeline.core.errors import MercError

__all__ = ["FrameScanner"]


class FrameScanner:
    """Add the faces of successive frames to the utterances in progress."""

    def __init__(self, tracker: FaceTracker) -> None:
        self.tracker = tracker
        self.mouths: dict[int, MouthReader] = {}

    def reset(self) -> None:
        self.tracker.reset()
        self.mouths.clear()

    def add(self, time: float, image: np.ndarray, spans: Sequence[FaceSpan]) -> None:
        _check_frame(image)
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        tracks = self.tracker.update(image, grey) if min(grey.shape) >= MIN_SIDE else []
        for number in self.mouths.keys() - {track.number for track in tracks}:
            del self.mouths[number]  # its next motion would span a gap
        for track in tracks:
            crop = crop_face(grey, track.box, track.roll)
            mouth = self.mouths.setdefault(track.number, MouthReader()).read(crop)
            for span in spans:
                span.add(time, track, crop, mouth, grey.shape)
        for span in spans:
            span.frames += 1
            span.too_small += self.tracker.too_small


def _check_frame(image: Any) -> None:
    if not isinstance(image, np.ndarray):
        raise MercError(f"frame is a {type(image).__name__}", "pass (height, width, 3) uint8 RGB")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise MercError(
            f"frame has shape {image.shape} and type {image.dtype}",
            "pass (height, width, 3) uint8 RGB",
        )
