"""Times for a transcript without times: its words against the recognised ones."""

from __future__ import annotations

import re
from dataclasses import replace
from difflib import SequenceMatcher

from pipeline.dialogue import Utterance
from pipeline.recognise import Word

__all__ = ["align"]


def align(utterances: list[Utterance], words: list[Word]) -> tuple[list[Utterance], list[str]]:
    """Utterances with the times of the words they share with the recognition, and the texts that share none.

    The longest common blocks of words are matched in order (Ratcliff and Obershelp, as in difflib); an utterance
    of which no word was heard has no place in the medium and is returned among the unheard.
    """
    told = [(_norm(token), index) for index, utterance in enumerate(utterances) for token in utterance.text.split()]
    told = [(token, index) for token, index in told if token]
    heard = [_norm(word.text) for word in words]
    spans: dict[int, tuple[float, float]] = {}
    for a, b, size in SequenceMatcher(None, [token for token, _ in told], heard, autojunk=False).get_matching_blocks():
        for k in range(size):
            index, word = told[a + k][1], words[b + k]
            start, end = spans.get(index, (word.start, word.end))
            spans[index] = min(start, word.start), max(end, word.end)
    placed = [replace(utterance, start=spans[index][0], end=spans[index][1])
              for index, utterance in enumerate(utterances) if index in spans]
    return placed, [utterance.text for index, utterance in enumerate(utterances) if index not in spans]


def _norm(token: str) -> str:
    return re.sub(r"[^\w]", "", token).casefold()
