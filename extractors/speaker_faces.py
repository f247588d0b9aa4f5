"""Choose the face of each utterance by the evidence of all utterances of its speaker.

The mouth seldom decides in two seconds of speech. But a speaker has one face: what other
utterances of the speaker say about a face counts as a prior. Faces are linked between utterances by
their track, or else by a small picture and their place in the frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import permutations

import numpy as np

from extractors.speaking import OFF_SCREEN
from pipeline.core.softmax import softmax

__all__ = ["FaceIdentities", "Sighting", "choose_faces"]

SAME_FACE = 0.6  # squared distance of two sightings below which they show one face
PLACE = 3.0  # weight of one frame width in it; two pictures without correlation differ by 2
MOST_TRIED = 1000  # ways to pair faces; beyond, scipy, which takes a third of a second to import
DOUBT = 0.1  # probability that an utterance has another speaker than its name says


@dataclass(frozen=True)
class Sighting:
    """One face in one utterance. identity: the same number for the same face of a recording.

    prior, evidence: log odds that it speaks, by its size and place and by its mouth. Only the
    latter counts for other utterances: a large face is large in all of them.
    """

    identity: int
    prior: float
    evidence: float


@dataclass
class FaceIdentities:
    """Number the faces of a recording."""

    _of_track: dict[int, int] = field(default_factory=dict)
    _seen: list[np.ndarray] = field(default_factory=list)  # latest description of each identity

    def identify(
        self,
        tracks: Sequence[int],
        pictures: Sequence[np.ndarray],
        centres: Sequence[tuple[float, float]],
    ) -> list[int]:
        """Return the identities of the faces of one utterance, which all differ.

        pictures: (144,) of length 1, as `FaceReading.picture`. centres: shares of the frame.
        """
        faces = [
            np.concatenate([picture, PLACE * np.array(centre)])
            for picture, centre in zip(pictures, centres, strict=True)
        ]
        numbers = [self._of_track.get(track, -1) for track in tracks]
        free = [k for k in range(len(self._seen)) if k not in numbers]
        new = [j for j, number in enumerate(numbers) if number < 0]
        if free and new:
            distances = np.array(
                [[np.square(self._seen[k] - faces[j]).sum() for k in free] for j in new]
            )
            for row, column in _pairs(distances):
                if distances[row, column] < SAME_FACE:
                    numbers[new[row]] = free[column]
        for j, number in enumerate(numbers):
            if number < 0:
                numbers[j] = len(self._seen)
                self._seen.append(faces[j])
            self._of_track[tracks[j]] = numbers[j]
            self._seen[numbers[j]] = faces[j]
        return numbers


def choose_faces(
    sightings: Sequence[Sequence[Sighting]], speakers: Sequence[str]
) -> list[tuple[int, float]]:
    """Return for each utterance the index of the speaker's face, and the confidence in it.

    sightings: the faces of each utterance, at least one. speakers: their names; utterances without
    a name are judged alone. As in `choose_speaker`, a speaker who is not in the frame shares the
    confidence.

    >>> unclear = [Sighting(0, 0.1, 0.0), Sighting(1, 0.0, 0.0)]
    >>> clear = [Sighting(0, 0.1, -1.0), Sighting(1, 0.0, 4.0)]
    >>> [best for best, _ in choose_faces([unclear, clear], ["anna", "anna"])]
    [1, 1]
    >>> [best for best, _ in choose_faces([unclear, clear], ["anna", "ben"])]
    [0, 1]
    """
    count = 1 + max((face.identity for faces in sightings for face in faces), default=-1)
    evidence = [_evidence(faces, count) for faces in sightings]
    totals: dict[str, np.ndarray] = {}
    for speaker, values in zip(speakers, evidence, strict=True):
        totals[speaker] = totals.get(speaker, 0.0) + values
    chosen = []
    for faces, speaker, values in zip(sightings, speakers, evidence, strict=True):
        scores = np.array([*(face.prior + face.evidence for face in faces), OFF_SCREEN])
        if speaker:
            others = totals[speaker] - values
            visible = others[[face.identity for face in faces]]
            prior = softmax(visible)
            scores[:-1] += np.log((1 - DOUBT) * prior * len(faces) + DOUBT)
        best = int(scores[:-1].argmax())
        chosen.append((best, float(np.exp(scores[best] - np.logaddexp.reduce(scores)))))
    return chosen


def _evidence(faces: Sequence[Sighting], count: int) -> np.ndarray:
    """Return the bounded log evidence of one utterance for each identity of the recording.

    A face that is not in the frame counts as one whose mouth says nothing.
    """
    scores = np.array([*(face.evidence for face in faces), 0.0])
    probability = softmax(scores) * (len(faces) + 1)
    values = np.full(count, probability[-1])
    values[[face.identity for face in faces]] = probability[:-1]
    return np.log((1 - DOUBT) * values + DOUBT)


def _pairs(distances: np.ndarray) -> list[tuple[int, int]]:
    """Return (row, column) of the pairs with the least sum of distances, each used once."""
    rows, columns = distances.shape
    if rows > columns:
        return [(row, column) for column, row in _pairs(distances.T)]
    if math.perm(columns, rows) <= MOST_TRIED:
        ways = permutations(range(columns), rows)
        return list(enumerate(min(ways, key=lambda way: distances[range(rows), list(way)].sum())))
    from scipy.optimize import linear_sum_assignment

    return list(zip(*linear_sum_assignment(distances), strict=True))
