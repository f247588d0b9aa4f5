"""Transcripts without times, aligned with recognised words."""

from __future__ import annotations

from itertools import pairwise
from math import nan

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.dialogue import Utterance, Word
from pipeline.segmentation.alignment import _edit_path, align

RECOGNISED = [
    Word(k, k + 0.5, f" {text}", 1.0)
    for k, text in enumerate("been blue at f two now lay red with p nine again hello there".split())
]


def test_wrongly_recognised_words_keep_their_place() -> None:
    written = [
        Utterance(nan, nan, text, speaker)
        for text, speaker in (
            ("Bin blue at F two now.", "A"),
            ("Hmm!", "B"),
            ("Lay red with P nine again.", "B"),
            ("Goodbye now", "A"),
        )
    ]
    timed, unmatched = align(written, RECOGNISED)
    assert [(u.start, u.end, u.speaker) for u in timed] == [
        (0, 5.5, "A"),
        (6, 11.5, "B"),
        (12, 13.5, "A"),
    ]
    assert unmatched == ["Hmm!"]


def test_the_transcript_of_another_recording_is_not_matched() -> None:
    assert align([Utterance(nan, nan, "Something entirely different", "A")], RECOGNISED) == (
        [],
        ["Something entirely different"],
    )
    assert align([Utterance(nan, nan, "Bin", "A")], []) == ([], ["Bin"])


@given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abc"), max_size=12))
def test_the_path_is_cheapest(a: list[str], b: list[str]) -> None:
    """Monotone, and as cheap as the textbook recursion (leaving out a word 1, substitution 1.5)."""
    pairs = _edit_path(a, b)
    assert all(i < k and j < m for (i, j), (k, m) in pairwise(pairs))
    table = np.add.outer(np.arange(len(a) + 1.0), np.arange(len(b) + 1.0))
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            substituted = table[i - 1, j - 1] + 1.5 * (a[i - 1] != b[j - 1])
            table[i, j] = min(table[i - 1, j] + 1, table[i, j - 1] + 1, substituted)
    cost = len(a) + len(b) - 2 * len(pairs) + sum(1.5 * (a[i] != b[j]) for i, j in pairs)
    assert cost == table[-1, -1]
