"""Group recognised words into turns of one utterance each.

A turn ends at the end of a sentence, at a pause, and where another voice begins.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

from pipeline.core.dialogue import Utterance, Word
from pipeline.segmentation.spans import Span, uncovered

__all__ = ["WORDLESS", "Turn", "close_gaps", "join_short", "split_turns", "with_wordless"]

WORDLESS = "…"  # the text of speech without recognisable words

PAUSE = 0.7  # s of silence between words that ends an utterance
COMFORT = 8.0  # s; longer sentences are cut at a breath that leaves two parts of similar length
BREATH = 0.25  # s; a shorter gap between words is no breath
LONGEST = 15.0  # s; longer sentences are cut at their best gap, even if it is no breath
FRAGMENT = 0.35  # s; shorter pieces that do not end a sentence join their neighbour
NO_SOUND = 0.1  # s; pieces that are shorter join their neighbour in any case
SHORT = 0.6  # s; too short to show an emotion: joins the neighbouring utterance of its speaker
ADJACENT = 0.3  # s; utterances further apart than this are never joined
APART = 0.8  # s; speech without words is an utterance if it lasts as long
CLEAR_CHANGE = 0.5  # of the voice, at which speech without words is cut; 1 at most
INSTANT = 0.1  # s from one time at which it may be cut to the next
CLOSED_GAP = 2.0  # s; longest gap between turns that is filled if the voice goes on in it
_SENTENCE_END = re.compile(r"[.?!…。！？؟।]['\")\]]*$")
_ABBREVIATION = re.compile(r"^(?:mr|mrs|ms|dr|prof|st|vs|etc|[a-z])\.$", re.IGNORECASE)

Turn = list[Word]
VoiceChange = Callable[[float, float, float], float]


def split_turns(words: list[Word], change: VoiceChange | None = None) -> list[Turn]:
    """Split words, which must be in order, into turns of one utterance each.

    change(start, time, end): how much the voice changes at `time`, which lies between two words of
    a turn from `start` to `end` (seconds). Above 0, the turn is cut where it changes most.

    >>> words = [Word(0.0, 0.4, " Hello.", 1.0), Word(0.5, 0.9, " Who's", 1.0),
    ...          Word(0.9, 1.3, " there?", 1.0)]
    >>> ["".join(word.text for word in turn).strip() for turn in split_turns(words)]
    ['Hello.', "Who's there?"]
    """
    turns: list[Turn] = []
    for word in _without_overlaps(words):
        if turns and not _ends(turns[-1], word):
            turns[-1].append(word)
        else:
            turns.append([word])
    turns = [part for turn in turns for part in _cut_long(turn)]
    if change:
        turns = [part for turn in turns for part in _cut_at_changes(turn, change)]
    return _join_fragments(turns)


def close_gaps(
    spans: list[tuple[float, float]],
    regions: list[tuple[float, float]],
    quietest: Callable[[float, float], float],
) -> list[tuple[float, float]]:
    """Extend neighbouring turns towards each other where a region of speech holds both.

    spans: (start, end) of turns in order. quietest(start, end): where they meet.

    Whisper's times leave out up to a second between two sentences that follow each other directly.

    >>> close_gaps([(0.1, 1.0), (1.6, 2.0), (3.0, 4.0)], [(0.0, 2.1), (2.9, 4.1)], lambda a, b: 1.2)
    [(0.1, 1.2), (1.2, 2.0), (3.0, 4.0)]
    """
    closed = list(spans)
    for k in range(1, len(closed)):
        (first, end), (start, last) = closed[k - 1 : k + 1]
        inside = any(begin <= end and start <= finish for begin, finish in regions)
        if 0 < start - end <= CLOSED_GAP and inside:
            meeting = min(max(end, quietest(end, start)), start)
            closed[k - 1], closed[k] = (first, meeting), (meeting, last)
    return closed


def with_wordless(
    utterances: list[Utterance],
    regions: list[tuple[float, float]],
    change: VoiceChange | None = None,
) -> list[Utterance]:
    """Add utterances with text "…" where regions of speech hold no words for `APART` seconds.

    utterances: in order of time, without overlaps. change: as for `split_turns`; what is added is
    cut where the voice changes clearly.

    >>> with_wordless([Utterance(0.2, 1.0, "Hello.")], [(0.0, 1.2), (3.0, 4.0)])
    [Utterance(start=0.2, end=1.0, text='Hello.', speaker=''), \
Utterance(start=3.0, end=4.0, text='…', speaker='')]
    """
    wordless = []
    for first, last in regions:
        inside = [(u.start, u.end) for u in utterances if u.start < last and first < u.end]
        wordless += [
            Utterance(one, other, WORDLESS)
            for start, end in uncovered(first, last, inside)
            if end - start >= APART
            for one, other in _cut_span(start, end, change)
        ]
    return sorted([*utterances, *wordless], key=lambda u: (u.start, u.end))


def join_short(utterances: list[Utterance]) -> list[Utterance]:
    """Join neighbouring utterances of one speaker if one of them is very short; none without words.

    >>> hello = [Utterance(0.0, 0.4, "Hello."), Utterance(0.5, 0.9, "Hello.")]
    >>> join_short(hello)
    [Utterance(start=0.0, end=0.9, text='Hello. Hello.', speaker='')]
    """
    joined: list[Utterance] = []
    for utterance in utterances:
        last = joined[-1] if joined else None
        if (
            last
            and WORDLESS not in (last.text, utterance.text)
            and last.speaker == utterance.speaker
            and utterance.start - last.end < ADJACENT
            and min(last.end - last.start, utterance.end - utterance.start) < SHORT
            and utterance.end - last.start <= COMFORT
        ):
            joined[-1] = replace(
                last,
                end=max(last.end, utterance.end),
                text=f"{last.text} {utterance.text}",
                words=last.words + utterance.words,
            )
        else:
            joined.append(utterance)
    return joined


def _without_overlaps(words: list[Word]) -> list[Word]:
    """Let words that overlap meet in the middle of what they share: Whisper's may, by 20 ms.

    >>> words = [Word(0.0, 1.0, "a", 1.0), Word(0.8, 2.0, "b", 1.0)]
    >>> [(word.start, word.end) for word in _without_overlaps(words)]
    [(0.0, 0.9), (0.9, 2.0)]
    """
    apart: list[Word] = []
    for word in words:
        if apart and word.start < apart[-1].end:
            meeting = (max(word.start, apart[-1].start) + min(word.end, apart[-1].end)) / 2
            apart[-1] = replace(apart[-1], end=meeting)
            word = replace(word, start=meeting, end=max(meeting, word.end))
        apart.append(word)
    return apart


def _ends(turn: Turn, word: Word) -> bool:
    """Whether the turn ends before this word."""
    return word.start - turn[-1].end >= PAUSE or _ends_sentence(turn, abbreviations=True)


def _ends_sentence(turn: Turn, abbreviations: bool = False) -> bool:
    """Whether the turn's last word ends a sentence; with `abbreviations`, "Mr." does not."""
    text = turn[-1].text.strip()
    if abbreviations and _ABBREVIATION.match(text):
        return False
    return bool(_SENTENCE_END.search(text))


def _cut_long(turn: Turn) -> list[Turn]:
    """Cut a long turn at a long gap near its middle, and its parts likewise."""
    length = turn[-1].end - turn[0].start
    if length <= COMFORT or len(turn) < 2:
        return [turn]

    def gap(k: int) -> float:
        return turn[k].start - turn[k - 1].end

    def quality(k: int) -> float:
        shorter_part = min(turn[k - 1].end - turn[0].start, turn[-1].end - turn[k].start)
        return (gap(k) + 0.02) * shorter_part

    cuts = [k for k in range(1, len(turn)) if gap(k) >= BREATH or length > LONGEST]
    if not cuts:
        return [turn]
    cut = max(cuts, key=quality)
    return [*_cut_long(turn[:cut]), *_cut_long(turn[cut:])]


def _cut_at_changes(turn: Turn, change: VoiceChange) -> list[Turn]:
    """Cut a turn where the voice changes most, and its parts likewise."""
    start, end = turn[0].start, turn[-1].end
    changes = [change(start, (one.end + next.start) / 2, end) for one, next in pairwise(turn)]
    if not changes or max(changes) <= 0:
        return [turn]
    cut = changes.index(max(changes)) + 1
    return [*_cut_at_changes(turn[:cut], change), *_cut_at_changes(turn[cut:], change)]


def _cut_span(start: float, end: float, change: VoiceChange | None) -> list[Span]:
    """Cut a span where the voice changes clearly, first where most; parts last `APART` or more."""
    edges = [start, end]
    count = int((end - start) / INSTANT) if change else 0
    times = [start + k * INSTANT for k in range(1, count)]
    changes = {time: change(start, time, end) for time in times} if change else {}
    for time in sorted(changes, key=lambda time: -changes[time]):
        if changes[time] <= CLEAR_CHANGE:
            break
        k = bisect(edges, time)
        if min(time - edges[k - 1], edges[k] - time) >= APART:
            edges.insert(k, time)
    return list(pairwise(edges))


def _join_fragments(turns: list[Turn]) -> list[Turn]:
    """Append fragments to the turn before, unless that ends a sentence or is further away.

    Turns that hold nearly no sound join the one before or after.
    """
    joined: list[Turn] = []
    for turn in turns:
        length = turn[-1].end - turn[0].start
        near = bool(joined) and turn[0].start - joined[-1][-1].end < FRAGMENT
        fragment = length < FRAGMENT and not _ends_sentence(turn)
        if near and (
            (fragment and not _ends_sentence(joined[-1]))
            or min(length, joined[-1][-1].end - joined[-1][0].start) < NO_SOUND
        ):
            joined[-1] = joined[-1] + turn
        else:
            joined.append(turn)
    return joined
