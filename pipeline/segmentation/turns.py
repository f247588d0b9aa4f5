"""Group recognised words into turns of one utterance each.

A turn ends at the end of a sentence, at a pause, and where another voice begins.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from pipeline.core.dialogue import Utterance, Word

__all__ = ["Turn", "close_gaps", "join_short", "split_turns"]

PAUSE = 0.7  # s of silence between words that ends an utterance
COMFORT = 8.0  # s; longer sentences are cut at a breath that leaves two parts of similar length
BREATH = 0.25  # s; a shorter gap between words is no breath
LONGEST = 15.0  # s; longer sentences are cut at their best gap, even if it is no breath
FRAGMENT = 0.35  # s; shorter pieces that do not end a sentence join their neighbour
SHORT = 0.6  # s; too short to show an emotion: joins the neighbouring utterance of its speaker
ADJACENT = 0.3  # s; utterances further apart than this are never joined
CLOSED_GAP = 2.0  # s; longest gap between turns that is filled if the voice goes on in it
_VOICE_GAP = 0.08  # s; a change of voice is looked for only in gaps this long
_SENTENCE_END = re.compile(r"[.?!…。！？؟।]['\")\]]*$")
_ABBREVIATION = re.compile(r"^(?:mr|mrs|ms|dr|prof|st|vs|etc|[a-z])\.$", re.IGNORECASE)

Turn = list[Word]
VoiceChanges = Callable[[float, float, float], bool]


def split_turns(words: list[Word], changes: VoiceChanges | None = None) -> list[Turn]:
    """Split words, which must be in order, into turns of one utterance each.

    changes(start, gap, end): whether another voice begins at `gap`, which lies between two words
    of a turn from `start` to `end` (seconds).

    >>> words = [Word(0.0, 0.4, " Hello.", 1.0), Word(0.5, 0.9, " Who's", 1.0),
    ...          Word(0.9, 1.3, " there?", 1.0)]
    >>> ["".join(word.text for word in turn).strip() for turn in split_turns(words)]
    ['Hello.', "Who's there?"]
    """
    turns: list[Turn] = []
    for word in words:
        if turns and not _ends(turns[-1], word):
            turns[-1].append(word)
        else:
            turns.append([word])
    turns = [part for turn in turns for part in _cut_long(turn)]
    if changes:
        turns = [part for turn in turns for part in _cut_at_changes(turn, changes)]
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


def join_short(utterances: list[Utterance]) -> list[Utterance]:
    """Join neighbouring utterances of one speaker if one of them is very short.

    >>> hello = [Utterance(0.0, 0.4, "Hello."), Utterance(0.5, 0.9, "Hello.")]
    >>> join_short(hello)
    [Utterance(start=0.0, end=0.9, text='Hello. Hello.', speaker='')]
    """
    joined: list[Utterance] = []
    for utterance in utterances:
        last = joined[-1] if joined else None
        if (
            last
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


def _cut_at_changes(turn: Turn, changes: VoiceChanges) -> list[Turn]:
    for k in range(1, len(turn)):
        before, after = turn[k - 1], turn[k]
        gap = (before.end + after.start) / 2
        if after.start - before.end >= _VOICE_GAP and changes(turn[0].start, gap, turn[-1].end):
            return [turn[:k], *_cut_at_changes(turn[k:], changes)]
    return [turn]


def _join_fragments(turns: list[Turn]) -> list[Turn]:
    """Append fragments to the turn before, unless that ends a sentence or is further away."""
    joined: list[Turn] = []
    for turn in turns:
        fragment = turn[-1].end - turn[0].start < FRAGMENT and not _ends_sentence(turn)
        if (
            fragment
            and joined
            and turn[0].start - joined[-1][-1].end < FRAGMENT
            and not _ends_sentence(joined[-1])
        ):
            joined[-1] = joined[-1] + turn
        else:
            joined.append(turn)
    return joined
