"""Utterances that show several faces, until it is known who speaks in each."""

from __future__ import annotations

import numpy as np

from extractors.face_reading import mean_picture
from extractors.face_span import FaceSpan, Sound, SpanFace, cut_sound
from extractors.speaker_faces import FaceIdentities, Sighting, choose_faces
from extractors.speaking import speaker_scores

__all__ = ["FaceContest"]


class FaceContest:
    """Utterances whose faces wait until all utterances of their speakers have been seen."""

    def __init__(self) -> None:
        self.open: list[FaceSpan] = []
        self.held = 0  # crops
        self._identities = FaceIdentities()
        self._sightings: list[list[Sighting]] = []  # of all utterances so far
        self._speakers: list[str] = []
        self._resolved = 0

    def add(self, span: FaceSpan, speaker: str, sound: Sound) -> None:
        faces = list(span.faces.values())
        prior, evidence = speaker_scores([face.mouth for face in faces], *cut_sound(sound, span))
        pictures = [mean_picture(face.crops, np.ones(len(face.crops))) for face in faces]
        centres = [(face.x / face.frames, face.y / face.frames) for face in faces]
        identities = self._identities.identify(list(span.faces), pictures, centres)
        self._sightings.append(
            [
                Sighting(*values)
                for values in zip(identities, prior.tolist(), evidence.tolist(), strict=True)
            ]
        )
        self._speakers.append(speaker)
        for face in faces:
            face.mouth.times, face.mouth.openness, face.mouth.motion = [], [], []
        self.open.append(span)
        self.held += sum(len(face.crops) for face in faces)

    def resolve(self, count: int) -> list[tuple[FaceSpan, SpanFace, float]]:
        """Return the `count` oldest utterances with the face of their speaker and its confidence.

        A single face is held for its evidence only.
        """
        chosen = choose_faces(self._sightings, self._speakers)
        oldest, self.open = self.open[:count], self.open[count:]
        decided = []
        for span, (best, confidence) in zip(oldest, chosen[self._resolved :], strict=False):
            faces = list(span.faces.values())
            self.held -= sum(len(face.crops) for face in faces)
            decided.append((span, faces[best], confidence))
        self._resolved += len(oldest)
        return decided
