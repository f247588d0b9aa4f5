"""Who speaks, by face, where words are too few for a voice: "Yes.", "No.", "Oh!".  Approximate.

A face is known by its small picture and its place in the frame.  It helps only in media where it tells the speakers of
longer utterances apart: where each is found again among the others, left out in turn.  Reaction shots, dubbing and
faces that never show fail that, and voices alone decide.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

import numpy as np

from extractors.detectors import find_detector
from extractors.visual import FaceReading, VisualExtractor
from pipeline.core.dialogue import Utterance
from pipeline.media.decode import Media

__all__ = ["by_faces", "method"]

EXAMPLES = 4  # utterances a speaker that are looked at, the longest
LOOKED = 2.0  # s of each, from the middle
SURE = 0.6  # confidence that a face is the speaker's, of the active speaker
FOUND = 0.9  # share of examples that must be nearest to one of their own speaker
CLEAR = 0.7  # distance to the speaker's nearest example over that to the nearest of another
PLACE = 3.0  # weight of a frame's width against two pictures without correlation (1.4)


@cache
def method() -> dict[str, Any] | None:
    """JSON-able, for fingerprints; None where there is no detector.

    The detector is the machine's own, whatever the features use: these can change while the utterances stay.
    """
    try:
        return {"method": "look-and-place", "version": 1, "detector": find_detector().fingerprint}
    except OSError:
        return None


def by_faces(
    media: Media, said: list[Utterance], numbers: list[int], brief: list[bool]
) -> tuple[list[int], int]:
    """Speaker numbers (-1 unknown) with those of `brief` utterances taken from faces where these help, and how many."""
    known = [k for k in range(len(said)) if numbers[k] >= 0 and not brief[k]]
    known.sort(key=lambda k: said[k].start - said[k].end)
    examples = [
        k for number in set(numbers) for k in [k for k in known if numbers[k] == number][:EXAMPLES]
    ]
    asked = [k for k in range(len(said)) if brief[k]]
    often = [number for number, count in Counter(numbers[k] for k in examples).items() if count > 1]
    if not asked or len(often) < 2 or not media.has_video:
        return numbers, 0
    extractor = VisualExtractor()
    readings = extractor.read(
        media.frames(),
        [_middle(said[k]) for k in examples + asked],
        media.sound if media.has_audio else None,
    )
    looks = {
        k: look
        for k, reading in zip(examples + asked, readings, strict=True)
        if (look := _look(reading)) is not None
    }
    seen = [k for k in examples if k in looks]
    tested = [k for k in seen if sum(numbers[j] == numbers[k] for j in seen) > 1]
    if len({numbers[k] for k in tested}) < 2:
        return numbers, 0
    right = [
        _nearest(looks, k, [j for j in seen if j != k], numbers)[0] == numbers[k] for k in tested
    ]
    if np.mean(right) < FOUND:
        return numbers, 0
    told = list(numbers)
    for k in asked:
        if k in looks:
            number, distance = _nearest(looks, k, seen, numbers)
            told[k] = number if distance < CLEAR else told[k]
    return told, sum(one != other for one, other in zip(numbers, told, strict=True))


def _middle(utterance: Utterance) -> tuple[float, float]:
    spare = max(0.0, utterance.end - utterance.start - LOOKED) / 2
    return utterance.start + spare, utterance.end - spare


def _look(reading: FaceReading) -> np.ndarray | None:
    if reading.picture is None or reading.centre is None or reading.confidence < SURE:
        return None
    return np.concatenate([reading.picture, PLACE * np.array(reading.centre)])


def _nearest(
    looks: dict[int, np.ndarray], asked: int, examples: list[int], numbers: list[int]
) -> tuple[int, float]:
    """The number of the nearest speaker, and its distance over that of the next speaker."""
    best: dict[int, float] = {}
    for k in examples:
        distance = float(np.linalg.norm(looks[k] - looks[asked]))
        best[numbers[k]] = min(distance, best.get(numbers[k], np.inf))
    (first, near), (_, far) = sorted(best.items(), key=lambda item: item[1])[:2]
    return first, near / max(far, 1e-9)
