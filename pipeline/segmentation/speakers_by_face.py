"""Find who speaks by face when there are too few words for a voice: "Yes.", "No.". Approximate.

A face is described by a small picture of it and its place in the frame. Faces are used only in
recordings where they identify the speakers of longer utterances: leave one such utterance out, and
the most similar face among the others must belong to the same speaker. Reaction shots, dubbing and
speakers who are never shown fail this test, and voices alone decide.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

import numpy as np

from extractors.detectors import DetectorMissingError, find_detector
from extractors.face_reading import FaceReading
from extractors.visual import FOLLOWING, VisualExtractor
from pipeline.core.dialogue import Utterance
from pipeline.media.decode import Media

__all__ = ["by_faces", "face_method"]

EXAMPLES = 4  # longest utterances of each speaker that serve as examples
WINDOW = 2.0  # s in the middle of each utterance that are used
CONFIDENT = 0.6  # confidence of the active speaker detection from which a face counts
AGREEMENT = 0.9  # share of examples whose nearest neighbour must be of the same speaker
CLEAR = 0.7  # distance to the nearest speaker over that to the second, below which a face decides
PLACE = 3.0  # weight of one frame width; two pictures without correlation are 1.4 apart

Faces = dict[int, np.ndarray]  # index of an utterance -> description of its speaker's face


@cache
def face_method() -> dict[str, Any] | None:
    """Describe this method for fingerprints (JSON-able); None if there is no face detector.

    The detector is the one installed, whichever the visual features use: those may change while
    the utterances remain the same.
    """
    try:
        detector = find_detector().fingerprint | {"following": FOLLOWING}
        return {"method": "look-and-place", "version": 2, "detector": detector}
    except DetectorMissingError:
        return None


def by_faces(
    media: Media, utterances: list[Utterance], numbers: list[int], brief: list[bool]
) -> tuple[list[int], int]:
    """Assign brief utterances to speakers by face, if faces identify the speakers at all.

    numbers: the speaker of each utterance by voice, -1 if unknown. brief: whether the utterance is
    too short to trust that.

    Returns:
        The speaker numbers, and how many of them changed.
    """
    examples = _examples(utterances, numbers, brief)
    questions = [k for k, is_brief in enumerate(brief) if is_brief]
    if not questions or not _comparable(examples, numbers) or not media.has_video:
        return numbers, 0
    faces = _read_faces(media, utterances, examples + questions)
    examples = [k for k in examples if k in faces]
    if not _identify(faces, examples, numbers):
        return numbers, 0
    assigned = list(numbers)
    for k in questions:
        if k in faces:
            number, ratio = _nearest(faces, k, examples, numbers)
            if ratio < CLEAR:
                assigned[k] = number
    return assigned, sum(a != b for a, b in zip(numbers, assigned, strict=True))


def _examples(utterances: list[Utterance], numbers: list[int], brief: list[bool]) -> list[int]:
    """Return the indices of the longest utterances of each speaker, `EXAMPLES` at most."""
    known = [k for k, number in enumerate(numbers) if number >= 0 and not brief[k]]
    known.sort(key=lambda k: utterances[k].start - utterances[k].end)
    examples: list[int] = []
    for number in set(numbers):
        examples += [k for k in known if numbers[k] == number][:EXAMPLES]
    return examples


def _comparable(examples: list[int], numbers: list[int]) -> bool:
    """Whether two speakers or more have two examples or more."""
    counts = Counter(numbers[k] for k in examples)
    return sum(count > 1 for count in counts.values()) > 1


def _identify(faces: Faces, examples: list[int], numbers: list[int]) -> bool:
    """Whether faces identify the speakers of the examples, each left out in turn."""
    if not _comparable(examples, numbers):
        return False
    counts = Counter(numbers[k] for k in examples)
    tested = [k for k in examples if counts[numbers[k]] > 1]
    correct = []
    for k in tested:
        others = [other for other in examples if other != k]
        correct.append(_nearest(faces, k, others, numbers)[0] == numbers[k])
    return bool(np.mean(correct) >= AGREEMENT)


def _read_faces(media: Media, utterances: list[Utterance], indices: list[int]) -> Faces:
    """Describe the speaker's face in these utterances; those without a clear face are left out."""
    spans = [_middle(utterances[k]) for k in indices]
    sound = media.sound if media.has_audio else None
    readings = VisualExtractor().read(media.frames(), spans, sound)
    faces: Faces = {}
    for k, reading in zip(indices, readings, strict=True):
        face = _describe(reading)
        if face is not None:
            faces[k] = face
    return faces


def _middle(utterance: Utterance) -> tuple[float, float]:
    spare = max(0.0, utterance.end - utterance.start - WINDOW) / 2
    return utterance.start + spare, utterance.end - spare


def _describe(reading: FaceReading) -> np.ndarray | None:
    if reading.picture is None or reading.centre is None or reading.confidence < CONFIDENT:
        return None
    return np.concatenate([reading.picture, PLACE * np.array(reading.centre)])


def _nearest(
    faces: Faces, asked: int, examples: list[int], numbers: list[int]
) -> tuple[int, float]:
    """Return the nearest speaker, and its distance over that of the second nearest."""
    distances: dict[int, float] = {}
    for k in examples:
        distance = float(np.linalg.norm(faces[k] - faces[asked]))
        distances[numbers[k]] = min(distance, distances.get(numbers[k], np.inf))
    ranked = sorted(distances.items(), key=lambda item: item[1])
    (nearest, distance), (_, second) = ranked[:2]
    return nearest, distance / max(second, 1e-9)
