"""Pictures of a recording for pages: the loudness of its sound, and a face per utterance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from pipeline.media.decode import RATE, Media

__all__ = ["face_pictures", "loudness"]

MAX_BINS = 4000
PER_SECOND = 50  # bins of a short recording
CHUNK = 60  # s of sound in memory at once
SIDE = 96  # pixels
MARGIN = 0.25  # of the box, on each side
QUALITY = 75  # of JPEG


def loudness(media: Media) -> np.ndarray:
    """Return the peak of the sound in equal parts of the recording, (bins,) from 0 to 1.

    The loudest part is 1. Without sound the array is empty.
    """
    if not media.has_audio or media.duration <= 0:
        return np.zeros(0)
    bins = max(1, min(MAX_BINS, round(PER_SECOND * media.duration)))
    peaks = np.zeros(bins)
    start = 0.0
    while start < media.duration:
        end = min(start + CHUNK, media.duration)
        sound = np.abs(media.sound(start, end))
        places = (start + np.arange(len(sound)) / RATE) / media.duration * bins
        np.maximum.at(peaks, np.minimum(places.astype(int), bins - 1), sound)
        start = end
    return peaks / max(float(peaks.max()), 1e-9)


def face_pictures(media: Media, utterances: Sequence[dict[str, Any]]) -> list[bytes | None]:
    """Return a JPEG of the speaker's face for each utterance, None where none was found.

    utterances: as the JSON file holds them; the middle one of the `boxes` is shown.
    """
    pictures: list[bytes | None] = [None] * len(utterances)
    wanted = []
    for index, utterance in enumerate(utterances):
        boxes = utterance["modalities"].get("visual", {}).get("boxes") or []
        if boxes:
            time, *box = boxes[len(boxes) // 2]
            wanted.append((time, index, box))
    wanted.sort()
    if not wanted or not media.has_video:
        return pictures
    for time, image in media.frames():
        while wanted and wanted[0][0] <= time + 1e-3:
            _, index, box = wanted.pop(0)
            pictures[index] = _cut(image, box)
        if not wanted:
            break
    return pictures


def _cut(image: np.ndarray, box: Sequence[float]) -> bytes | None:
    high, wide = image.shape[:2]
    left, top, width, height = box
    side = max(width * wide, height * high) * (1 + 2 * MARGIN)
    x, y = (left + width / 2) * wide - side / 2, (top + height / 2) * high - side / 2
    part = image[max(0, int(y)) : int(y + side) + 1, max(0, int(x)) : int(x + side) + 1]
    if not part.size:
        return None
    scale = SIDE / max(part.shape[:2])
    size = (max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale)))
    small = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(
        ".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    )
    return data.tobytes() if done else None
