"""Find who else speaks while somebody speaks, by the network that hears 10 s at a time.

An utterance has one speaker. Where the network hears two people at once, the other one is a voice
of its window, followed to the neighbouring windows. It belongs to the speaker whose utterances
cover the time in which it speaks alone, or to the one that the other voices leave; else, the sound
must resemble one of the others clearly. Where none of this is so, nobody is added: acted shouting
and weeping are two voices to the network now and then.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from itertools import pairwise, permutations

import numpy as np

from pipeline.core.dialogue import Utterance
from pipeline.media.decode import RATE, Media
from pipeline.segmentation.speakers_by_voice import voice_vectors
from pipeline.segmentation.talking import HOP, Talk, frame_of, runs, seconds_of, two_between
from pipeline.segmentation.turns import WORDLESS

__all__ = ["add_parts", "with_second_speakers"]

# Chosen on meetings that the network was trained on, and on CREMA-D; see docs/speakers.md.
ON, OFF = 0.7, 0.4  # probability of two speakers at which a stretch of them begins and ends
AGAIN = 0.5  # the same, in a window of its own
ALONE = 0.5  # probability that a voice speaks alone
LEAST = 1.0  # s that a voice must speak alone
SHARE = 0.6  # of that time must be of one speaker
REST = 0.5  # s during which the other voice of a pair leaves a speaker to this one
EXAMPLES = 3  # longest utterances of each speaker with whose sound a part is compared
HEARD = 0.5  # s; shorter parts are not compared
CLEAR = 0.05  # cosine by which the most similar speaker must be ahead
ACTIVE = 0.5  # probability that a voice speaks
SAME = 0.7  # cosine of two voices of overlapping windows that are one
COMMON = 20  # frames, 0.3 s, in which both speak
SHORTEST = 0.4  # s of an added utterance
EXTENSION = 0.25, 1.0  # s; so much is added to a neighbouring utterance of the speaker instead
NEAR = 0.3  # s between two such parts or utterances, at most

Piece = tuple[int, int, int, list[int]]  # start and end in frames, speaker, two voices
Part = tuple[float, float, int]  # start and end in seconds, number of the speaker


def with_second_speakers(media: Media, talk: Talk, utterances: list[Utterance]) -> list[Utterance]:
    """Add utterances with text "…" of who speaks while others do; some start or end later instead.

    utterances: in order of time, with speakers, without overlaps. talk: of `media`.
    """
    names = sorted({utterance.speaker for utterance in utterances} - {""})
    if len(names) < 2 or not len(talk.starts):
        return utterances
    speaking = _speaking(utterances, names, len(talk.two))
    voices = _voices(talk)
    speaker_of = _speakers_of_voices(talk, voices, speaking, len(names))
    stretches = {
        (start, end): [
            (first, last, int(speaking[first]), _pair(talk, voices, first, last))
            for first, last in _constant(speaking, start, end)
        ]
        for start, end in runs(talk.two >= OFF)
        if talk.two[start:end].max() >= ON
    }
    pieces = [piece for parts in stretches.values() for piece in parts]
    speaker_of |= _speakers_of_the_rest(pieces, speaker_of, len(names))
    examples = _Examples(media, utterances, names)
    parts: list[Part] = []
    for (start, end), inside in stretches.items():
        here = []
        for first, last, speaker, pair in inside:
            known = [speaker_of.get(voice) for voice in pair]
            part = seconds_of(first), seconds_of(last)
            second = _second(speaker, known, len(names))
            if second is None and speaker in known and None in known:
                second = examples.most_similar(*part, speaker)
            if second is not None:
                here.append((*part, second))
        if here and two_between(media, seconds_of(start), seconds_of(end)) >= AGAIN:
            parts += here
    return add_parts(utterances, _join(parts), names)


def _speaking(utterances: list[Utterance], names: list[str], frames: int) -> np.ndarray:
    """Return the number of the speaker at each frame; -1 for nobody."""
    speaking = np.full(frames, -1)
    for utterance in utterances:
        if utterance.speaker:
            number = names.index(utterance.speaker)
            speaking[frame_of(utterance.start) : frame_of(utterance.end)] = number
    return speaking


def _voices(talk: Talk) -> np.ndarray:
    """Number the voices (n, 3) of the windows; one that goes on in the next keeps its number."""
    count, frames, people = talk.windows.shape
    voices = np.arange(count * people).reshape(count, people)
    active = np.where(talk.windows > ACTIVE, talk.windows, 0)
    for k, (one, other) in enumerate(pairwise(talk.starts.tolist())):
        shift = other - one
        before, after = active[k, shift:], active[k + 1, : frames - shift]
        common = before.T @ after
        norms = np.linalg.norm(before, axis=0)[:, None] * np.linalg.norm(after, axis=0)
        best = max(permutations(range(people)), key=lambda p: common[range(people), p].sum())
        for a, b in enumerate(best):
            if common[a, b] >= max(COMMON, SAME * norms[a, b]):
                voices[k + 1, b] = voices[k, a]
    return voices


def _speakers_of_voices(
    talk: Talk, voices: np.ndarray, speaking: np.ndarray, count: int
) -> dict[int, int]:
    """Return the speaker whose utterances cover the time in which a voice speaks alone."""
    alone: dict[int, list[np.ndarray]] = {}
    for start, window, both, row in zip(talk.starts, talk.windows, talk.both, voices, strict=True):
        for probability, voice in zip(window.T, row.tolist(), strict=True):
            alone.setdefault(voice, []).append(start + np.flatnonzero(probability - both >= ALONE))
    speakers = {}
    for voice, frames in alone.items():
        named = speaking[np.unique(np.concatenate(frames))]
        named = named[named >= 0]
        counts = np.bincount(named, minlength=count)
        if len(named) * HOP / RATE >= LEAST and counts.max() >= SHARE * len(named):
            speakers[voice] = int(counts.argmax())
    return speakers


def _speakers_of_the_rest(
    pieces: list[Piece], speaker_of: dict[int, int], count: int
) -> dict[int, int]:
    """Return speakers of further voices: of a pair, one is known, and not who the utterance says.

    >>> _speakers_of_the_rest([(0, 100, 1, [7, 8])], {7: 0}, 2)
    {8: 1}
    """
    seconds: dict[int, np.ndarray] = {}
    for start, end, speaker, pair in pieces:
        for voice, other in (pair, pair[::-1]):
            if voice not in speaker_of and speaker_of.get(other, speaker) != speaker:
                left = seconds.setdefault(voice, np.zeros(count))
                left[speaker] += (end - start) * HOP / RATE
    return {
        voice: int(left.argmax())
        for voice, left in seconds.items()
        if left.sum() >= REST and left.max() >= SHARE * left.sum()
    }


class _Examples:
    """The voices of the speakers, to compare others with. Nothing is computed before it is asked.

    names: of the speakers, by number.
    """

    def __init__(self, media: Media, utterances: list[Utterance], names: list[str]) -> None:
        self.media, self.utterances, self.names = media, utterances, names

    def most_similar(self, start: float, end: float, without: int) -> int | None:
        """Return the speaker whose voice is the most similar to the sound between two times.

        without: the number of a speaker who does not count. None where it is not clear.
        """
        if end - start < HEARD or len(self.names) < 3:
            return None
        vectors, _ = voice_vectors(self.media, [Utterance(start, end, WORDLESS)])
        similar = _unit(self._voices) @ _unit(vectors)[0]
        similar[without] = -np.inf
        second, first = np.argsort(similar)[-2:]
        clear = bool(similar[first] - similar[second] >= CLEAR)  # not with NaN
        return int(first) if clear and np.isfinite(similar).sum() == len(similar) - 1 else None

    @cached_property
    def _voices(self) -> np.ndarray:
        """One row per speaker: the mean of the longest utterances."""
        rows = []
        for name in self.names:
            own = [u for u in self.utterances if u.speaker == name]
            longest = sorted(own, key=lambda u: u.start - u.end)[:EXAMPLES]
            rows.append(voice_vectors(self.media, longest)[0].mean(0))
        return np.stack(rows)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _constant(speaking: np.ndarray, start: int, end: int) -> list[tuple[int, int]]:
    """Return (start, end) of the parts of a stretch of frames with one speaker each."""
    edges = [start, *(start + 1 + np.flatnonzero(np.diff(speaking[start:end]))).tolist(), end]
    return [(first, last) for first, last in pairwise(edges) if speaking[first] >= 0]


def _pair(talk: Talk, voices: np.ndarray, start: int, end: int) -> list[int]:
    """Return the two voices that speak between two frames, in the window that is nearest."""
    frames = talk.windows.shape[1]
    k = int(np.abs(talk.starts + frames / 2 - (start + end) / 2).argmin())
    first = int(np.clip(start - talk.starts[k], 0, frames - 1))
    last = max(first + 1, int(end - talk.starts[k]))
    loudest = np.argsort(-talk.windows[k, first:last].mean(0), kind="stable")[:2]
    return voices[k, loudest].tolist()


def _second(speaker: int, pair: list[int | None], count: int) -> int | None:
    """Return the speaker of a pair of voices that is not `speaker`; None where it is not clear.

    >>> _second(0, [0, 1], 3), _second(0, [None, 1], 3), _second(0, [2, 1], 3)
    (1, 1, None)
    >>> _second(0, [0, None], 2), _second(0, [0, None], 3)
    (1, None)
    """
    others = {other for other in pair if other not in (speaker, None)}
    if len(others) == 1 and (speaker in pair or None in pair):
        return others.pop()
    if not others and count == 2 and speaker in pair and None in pair:
        return 1 - speaker
    return None


def _join(parts: list[Part]) -> list[Part]:
    """Join parts of one speaker that are near each other.

    >>> _join([(0.0, 1.0, 1), (1.2, 2.0, 1), (3.0, 4.0, 1)])
    [(0.0, 2.0, 1), (3.0, 4.0, 1)]
    """
    joined: dict[int, list[Part]] = {}
    for start, end, number in sorted(parts):
        of_speaker = joined.setdefault(number, [])
        if of_speaker and start - of_speaker[-1][1] <= NEAR:
            start = of_speaker.pop()[0]
        of_speaker.append((start, end, number))
    return sorted(part for of_speaker in joined.values() for part in of_speaker)


def add_parts(utterances: list[Utterance], parts: list[Part], names: list[str]) -> list[Utterance]:
    """Add utterances with text "…", or extend neighbouring ones of the speaker by short parts.

    utterances: in order of time. parts: when somebody speaks beside them. names: of the speakers,
    by number. Parts under 0.4 s that no utterance of the speaker is near are left out.

    >>> add_parts([Utterance(0.0, 2.0, "Hi.", "A")], [(1.0, 2.0, 1), (2.0, 2.5, 0)], ["A", "B"])
    [Utterance(start=0.0, end=2.5, text='Hi.', speaker='A'), \
Utterance(start=1.0, end=2.0, text='…', speaker='B')]
    """
    extended, added = list(utterances), []
    of_speaker: dict[str, list[int]] = {name: [] for name in names}
    for k, utterance in enumerate(utterances):
        of_speaker.setdefault(utterance.speaker, []).append(k)
    for start, end, number in parts:
        own = of_speaker[names[number]]
        for k in own:  # the ends of parts are those of frames
            if extended[k].start <= start < extended[k].end:
                start = extended[k].end
            elif start < extended[k].start < end:
                end = extended[k].start
        after = [k for k in own if 0 <= extended[k].start - end <= NEAR]
        before = [k for k in own if 0 <= start - extended[k].end <= NEAR]
        if EXTENSION[0] <= end - start <= EXTENSION[1] and after:
            extended[after[0]] = replace(extended[after[0]], start=start)
        elif EXTENSION[0] <= end - start <= EXTENSION[1] and before:
            extended[before[-1]] = replace(extended[before[-1]], end=end)
        elif end - start >= SHORTEST:
            added.append(Utterance(start, end, WORDLESS, names[number]))
    return sorted([*extended, *added], key=lambda u: (u.start, u.end))
