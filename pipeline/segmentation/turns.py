"""Recognised words to turns: split at sentence ends, pauses and regions of speech; changes of voice come later."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from pipeline.core.dialogue import Utterance, Word

__all__ = ["Turn", "join_short", "split_turns"]

PAUSE = 0.7  # s of silence between words that ends an utterance
COMFORT = 8.0  # s: a longer sentence is cut where its speaker breathes, at a gap that leaves two good parts
BREATH = 0.25  # s
LONGEST = 15.0  # s: a longer one is cut at the best gap there is
FRAGMENT = 0.35  # s: shorter pieces without a sentence end join their neighbour
SHORT = 0.6  # s: an utterance too short for its emotion to be read; it joins its speaker's next or last words
ADJACENT = 0.3  # s between two utterances that are joined
_END = re.compile(r"[.?!…]['\")\]]*$")
_NO_END = re.compile(r"^(?:mr|mrs|ms|dr|prof|st|vs|etc|[a-z])\.$", re.IGNORECASE)

Turn = list[Word]


def split_turns(
    words: list[Word], changes: Callable[[float, float, float], bool] | None = None
) -> list[Turn]:
    """Words in order to turns of one utterance each.

    changes(start, gap, end) tells whether another voice begins at `gap` (seconds), between the words of a turn from
    start to end.
    """
    turns: list[Turn] = []
    for word in words:
        if turns and not _ends(turns[-1], word):
            turns[-1].append(word)
        else:
            turns.append([word])
    turns = [piece for turn in turns for piece in _shorten(turn)]
    if changes:
        turns = [piece for turn in turns for piece in _at_changes(turn, changes)]
    return _join_fragments(turns)


def _ends(turn: Turn, word: Word) -> bool:
    last = turn[-1].text.strip()
    return word.start - turn[-1].end >= PAUSE or bool(_END.search(last) and not _NO_END.match(last))


def _shorten(turn: Turn) -> list[Turn]:
    length = turn[-1].end - turn[0].start
    if length <= COMFORT or len(turn) < 2:
        return [turn]

    def gap(k: int) -> float:
        return turn[k].start - turn[k - 1].end

    cuts = [k for k in range(1, len(turn)) if gap(k) >= BREATH or length > LONGEST]
    if not cuts:
        return [turn]
    cut = max(
        cuts,
        key=lambda k: (
            (gap(k) + 0.02) * min(turn[k - 1].end - turn[0].start, turn[-1].end - turn[k].start)
        ),
    )
    return [*_shorten(turn[:cut]), *_shorten(turn[cut:])]


def _at_changes(turn: Turn, changes: Callable[[float, float, float], bool]) -> list[Turn]:
    for k in range(1, len(turn)):
        gap = (turn[k - 1].end + turn[k].start) / 2
        if turn[k].start - turn[k - 1].end >= 0.08 and changes(turn[0].start, gap, turn[-1].end):
            return [turn[:k], *_at_changes(turn[k:], changes)]
    return [turn]


def _join_fragments(turns: list[Turn]) -> list[Turn]:
    joined: list[Turn] = []
    for turn in turns:
        short = turn[-1].end - turn[0].start < FRAGMENT and not _END.search(turn[-1].text.strip())
        if (
            joined
            and short
            and turn[0].start - joined[-1][-1].end < FRAGMENT
            and not _END.search(joined[-1][-1].text)
        ):
            joined[-1] = joined[-1] + turn
        else:
            joined.append(turn)
    return joined


def join_short(said: list[Utterance]) -> list[Utterance]:
    """Neighbours of one speaker become one utterance where one of them is very short: `Hello.` `Hello.`"""
    joined: list[Utterance] = []
    for new in said:
        last = joined[-1] if joined else None
        if (
            last
            and last.speaker == new.speaker
            and new.start - last.end < ADJACENT
            and min(last.end - last.start, new.end - new.start) < SHORT
            and new.end - last.start <= COMFORT
        ):
            joined[-1] = replace(last, end=max(last.end, new.end), text=f"{last.text} {new.text}")
        else:
            joined.append(new)
    return joined
