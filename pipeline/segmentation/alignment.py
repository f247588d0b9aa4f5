"""Times for a transcript without times: its words against the recognised ones, by dynamic programming."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from pipeline.core.dialogue import Utterance, Word

__all__ = ["align"]

RELATED = 0.2  # share of the transcript's words heard as written, below which another medium must be meant


def align(utterances: list[Utterance], words: list[Word]) -> tuple[list[Utterance], list[str]]:
    """Utterances with the times of the words they are aligned to, and the texts that have no place in the medium.

    Edit distance over words (Levenshtein 1966).  A word heard as another one still has its time, so an utterance that
    was recognised wrongly keeps its place between its neighbours; one of which nothing was heard has none.
    """
    told = [
        (token, index)
        for index, utterance in enumerate(utterances)
        for token in _tokens(utterance.text)
    ]
    heard = [(token, word) for word in words for token in _tokens(word.text)]
    pairs = _edit_path([token for token, _ in told], [token for token, _ in heard])
    same = [pair for pair in pairs if told[pair[0]][0] == heard[pair[1]][0]]
    if len(same) < RELATED * len(told):
        pairs = same
    spans: dict[int, tuple[float, float]] = {}
    for a, b in pairs:
        index, word = told[a][1], heard[b][1]
        start, end = spans.get(index, (word.start, word.end))
        spans[index] = min(start, word.start), max(end, word.end)
    placed = [
        replace(utterance, start=spans[index][0], end=spans[index][1])
        for index, utterance in enumerate(utterances)
        if index in spans
    ]
    return placed, [
        utterance.text for index, utterance in enumerate(utterances) if index not in spans
    ]


def _edit_path(a: list[str], b: list[str]) -> list[tuple[int, int]]:
    """Pairs (i, j) matched or substituted on a cheapest path; a substitution costs less than leaving out both.

    One row of numpy operations for each word of `a`: within a row, cost[j] = min over k ≤ j of best[k] + (j − k), a
    running minimum.  One byte for each pair of words is kept: 100 MB for two hours of talk.
    """
    codes = {token: k for k, token in enumerate(dict.fromkeys([*a, *b]))}
    x, y = np.array([codes[t] for t in a], np.int32), np.array([codes[t] for t in b], np.int32)
    steps = np.arange(len(y) + 1, dtype=np.float32)
    cost = steps.copy()
    move = np.zeros((len(x), len(y) + 1), np.int8)  # 0 skip a word of b, 1 skip one of a, 2 pair
    for i, token in enumerate(x):
        skip, pair = cost + 1, np.full_like(cost, np.inf)
        pair[1:] = cost[:-1] + np.where(y == token, 0.0, 1.5)
        best = np.minimum(skip, pair)
        cost = np.minimum.accumulate(best - steps) + steps
        move[i] = np.where(pair <= cost, 2, np.where(skip <= cost, 1, 0))
    pairs, i, j = [], len(x) - 1, len(y)
    while i >= 0 and j > 0:
        step = move[i, j]
        if step == 2:
            pairs.append((i, j - 1))
        i, j = i - (step > 0), j - (step != 1)
    return pairs[::-1]


def _tokens(text: str) -> list[str]:
    return [token for token in re.sub(r"[^\w\s]", "", text.casefold()).split() if token]
