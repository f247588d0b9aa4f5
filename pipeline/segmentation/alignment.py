"""Time a transcript that has no times: align its words with the recognised ones."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from pipeline.core.dialogue import Utterance, Word

__all__ = ["align"]

# share of the transcript's words that must be recognised as written; with fewer, the transcript
# probably belongs to another recording and only exact matches count
SHARE_MATCHED = 0.2
_SUBSTITUTION = 1.5  # cost; leaving a word out costs 1
_SKIP_RECOGNISED, _SKIP_WRITTEN, _PAIR = range(3)  # moves of the dynamic program


def align(utterances: list[Utterance], words: list[Word]) -> tuple[list[Utterance], list[str]]:
    """Give utterances the times of the recognised words that they align with.

    Minimises the edit distance over words (Levenshtein 1966). A substituted word still has a time,
    so an utterance that was recognised wrongly keeps its place between its neighbours.

    Returns:
        The utterances with times, and the texts of those that no recognised word aligns with.

    >>> hello = Utterance(float("nan"), float("nan"), "Hello there.")
    >>> align([hello], [Word(1.0, 1.4, " hello", 0.9), Word(1.4, 1.8, " there", 0.8)])
    ([Utterance(start=1.0, end=1.8, text='Hello there.', speaker='')], [])
    """
    written: list[str] = []
    owners: list[int] = []  # for each written word, the index of its utterance
    for index, utterance in enumerate(utterances):
        for token in _tokens(utterance.text):
            written.append(token)
            owners.append(index)
    recognised: list[str] = []
    sources: list[Word] = []
    for word in words:
        for token in _tokens(word.text):
            recognised.append(token)
            sources.append(word)

    pairs = _edit_path(written, recognised)
    exact = [(i, j) for i, j in pairs if written[i] == recognised[j]]
    if len(exact) < SHARE_MATCHED * len(written):
        pairs = exact
    spans: dict[int, tuple[float, float]] = {}
    for i, j in pairs:
        index, word = owners[i], sources[j]
        start, end = spans.get(index, (word.start, word.end))
        spans[index] = min(start, word.start), max(end, word.end)

    timed: list[Utterance] = []
    unmatched: list[str] = []
    for index, utterance in enumerate(utterances):
        if index in spans:
            start, end = spans[index]
            timed.append(replace(utterance, start=start, end=end))
        else:
            unmatched.append(utterance.text)
    return timed, unmatched


def _edit_path(a: list[str], b: list[str]) -> list[tuple[int, int]]:
    """Return the pairs (i, j) that are matched or substituted on a path of least cost.

    A substitution costs less than leaving out both words. Each word of `a` takes one row of numpy
    operations: within a row, cost[j] = min over k ≤ j of best[k] + (j − k), a running minimum.
    Stores one byte for each pair of words: 100 MB for two hours of speech.
    """
    codes = {token: code for code, token in enumerate(dict.fromkeys([*a, *b]))}
    x = np.array([codes[token] for token in a], np.int32)
    y = np.array([codes[token] for token in b], np.int32)
    steps = np.arange(len(y) + 1, dtype=np.float32)
    cost = steps.copy()
    moves = np.zeros((len(x), len(y) + 1), np.int8)
    for i, code in enumerate(x):
        skip, pair = cost + 1, np.full_like(cost, np.inf)
        pair[1:] = cost[:-1] + np.where(y == code, 0.0, _SUBSTITUTION)
        best = np.minimum(skip, pair)
        cost = np.minimum.accumulate(best - steps) + steps
        skips = np.where(skip <= cost, _SKIP_WRITTEN, _SKIP_RECOGNISED)
        moves[i] = np.where(pair <= cost, _PAIR, skips)
    pairs, i, j = [], len(x) - 1, len(y)
    while i >= 0 and j > 0:
        move = moves[i, j]
        if move == _PAIR:
            pairs.append((i, j - 1))
        i, j = i - (move != _SKIP_RECOGNISED), j - (move != _SKIP_WRITTEN)
    return pairs[::-1]


def _tokens(text: str) -> list[str]:
    """Split into words without case and punctuation."""
    return re.sub(r"[^\w\s]", "", text.casefold()).split()
