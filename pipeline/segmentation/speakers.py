"""Name the speakers of utterances: from given turns, or by voice and face."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pipeline.core.dialogue import Utterance
from pipeline.media.decode import Media
from pipeline.segmentation.spans import Span, uncovered
from pipeline.segmentation.speakers_at_once import add_parts
from pipeline.segmentation.speakers_by_face import by_faces
from pipeline.segmentation.speakers_by_voice import (
    SHORTEST,
    assign_speakers,
    renumber,
    voice_vectors,
)

__all__ = ["FoundSpeakers", "assign_by_turns", "assign_by_voice_and_face", "with_other_turns"]

TurnOfSpeaker = tuple[float, float, str]  # start and end in seconds, speaker


@dataclass(frozen=True)
class FoundSpeakers:
    """Utterances with speakers S1, S2 ...; empty if there is too little sound.

    by_face: how many utterances were assigned by their faces.
    """

    utterances: list[Utterance]
    by_face: int


def assign_by_turns(utterances: list[Utterance], turns: list[TurnOfSpeaker]) -> list[Utterance]:
    """Give each utterance the speaker of the turn that it overlaps most, if there is one.

    >>> assign_by_turns([Utterance(0.0, 2.0, "Hello.")], [(0.0, 0.5, "anna"), (0.5, 3.0, "ben")])
    [Utterance(start=0.0, end=2.0, text='Hello.', speaker='ben')]
    """
    starts, ends = np.array([turn[:2] for turn in turns]).reshape(-1, 2).T
    named = []
    for utterance in utterances:
        overlaps = np.minimum(utterance.end, ends) - np.maximum(utterance.start, starts)
        if overlaps.max(initial=0.0) > 0:
            utterance = replace(utterance, speaker=turns[int(overlaps.argmax())][2])
        named.append(utterance)
    return named


def with_other_turns(
    utterances: list[Utterance], turns: list[TurnOfSpeaker]
) -> tuple[list[Utterance], int]:
    """Add utterances with text "…" where turns hold none of their speaker.

    utterances: in order of time, with the speakers of turns.

    Returns:
        The utterances, and how many turns no utterance of their speaker shares a moment with.

    >>> hello = Utterance(0.0, 9.0, "Hello.", "anna")
    >>> with_other_turns([hello], [(0.0, 9.0, "anna"), (3.0, 8.0, "ben"), (8.5, 8.7, "ben")])
    ([Utterance(start=0.0, end=9.0, text='Hello.', speaker='anna'), \
Utterance(start=3.0, end=8.0, text='…', speaker='ben')], 1)
    """
    names = sorted({name for _, _, name in turns})
    spans = _spans_of_speakers(utterances, names)
    parts = []
    for start, end, name in turns:
        own = _sharing(spans[name], start, end)
        parts += [(*part, names.index(name)) for part in uncovered(start, end, own.tolist())]
    result = add_parts(utterances, parts, names)
    spans = _spans_of_speakers(result, names)
    unused = sum(not len(_sharing(spans[name], start, end)) for start, end, name in turns)
    return result, unused


def _spans_of_speakers(utterances: list[Utterance], names: list[str]) -> dict[str, np.ndarray]:
    """Return speaker -> (n, 2), start and end of each utterance."""
    spans: dict[str, list[Span]] = {name: [] for name in names}
    for u in utterances:
        if u.speaker in spans:
            spans[u.speaker].append((u.start, u.end))
    return {name: np.array(rows).reshape(-1, 2) for name, rows in spans.items()}


def _sharing(spans: np.ndarray, start: float, end: float) -> np.ndarray:
    """Return the spans (n, 2) that share a moment with another."""
    return spans[(spans[:, 0] < end) & (start < spans[:, 1])]


def assign_by_voice_and_face(
    media: Media, utterances: list[Utterance], count: int | None, faces: bool
) -> FoundSpeakers:
    """Cluster voices into speakers; if `faces`, faces decide on utterances too short for a voice.

    count: the number of speakers, if known.
    """
    vectors, seconds = voice_vectors(media, utterances)
    numbers, by_face = assign_speakers(vectors, seconds, count), 0
    if faces:
        brief = (seconds < SHORTEST).tolist()
        numbers, by_face = by_faces(media, utterances, numbers, brief)
    named = []
    for utterance, number in zip(utterances, renumber(numbers), strict=True):
        named.append(replace(utterance, speaker="" if number < 0 else f"S{number + 1}"))
    return FoundSpeakers(named, by_face)
