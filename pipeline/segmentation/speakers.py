"""Name the speakers of utterances: from given turns, or by voice and face."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipeline.core.dialogue import Utterance
from pipeline.media.decode import Media
from pipeline.segmentation.spans import uncovered
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

    def overlap(utterance: Utterance, turn: TurnOfSpeaker) -> float:
        return min(utterance.end, turn[1]) - max(utterance.start, turn[0])

    named = []
    for utterance in utterances:
        overlaps = [overlap(utterance, turn) for turn in turns]
        if overlaps and max(overlaps) > 0:
            speaker = turns[overlaps.index(max(overlaps))][2]
            utterance = replace(utterance, speaker=speaker)
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
    parts = []
    for start, end, name in turns:
        own = [
            (u.start, u.end)
            for u in utterances
            if u.speaker == name and u.start < end and start < u.end
        ]
        parts += [(*part, names.index(name)) for part in uncovered(start, end, own)]
    result = add_parts(utterances, parts, names)
    unused = sum(
        not any(u.speaker == name and u.start < end and start < u.end for u in result)
        for start, end, name in turns
    )
    return result, unused


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
