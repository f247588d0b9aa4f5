"""A transcript without times against recognised words."""

from __future__ import annotations

from itertools import pairwise
from math import nan

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.dialogue import Utterance, Word
from pipeline.segmentation.alignment import _edit_path, align

HEARD = [
    Word(k, k + 0.5, f" {text}", 1.0)
    for k, text in enumerate("been blue at f two now lay red with p nine again hello there".split())
]


def test_words_recognised_wrongly_keep_their_place() -> None:
    told = [
        Utterance(nan, nan, text, who)
        for text, who in (
            ("Bin blue at F two now.", "A"),
            ("Hmm!", "B"),
            ("Lay red with P nine again.", "B"),
            ("Goodbye now", "A"),
        )
    ]
    placed, unheard = align(told, HEARD)
    assert [(u.start, u.end, u.speaker) for u in placed] == [
        (0, 5.5, "A"),
        (6, 11.5, "B"),
        (12, 13.5, "A"),
    ]
    assert unheard == ["Hmm!"]


def test_the_transcript_of_another_medium_has_no_place() -> None:
    assert align([Utterance(nan, nan, "Something entirely different", "A")], HEARD) == (
        [],
        ["Something entirely different"],
    )
    assert align([Utterance(nan, nan, "Bin", "A")], []) == ([], ["Bin"])


@given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abc"), max_size=12))
def test_the_path_is_cheapest(a: list[str], b: list[str]) -> None:
    """Monotone, and as cheap as the textbook recursion says (leaving out 1, substitution 1.5)."""
    pairs = _edit_path(a, b)
    assert all(i < k and j < m for (i, j), (k, m) in pairwise(pairs))
    table = [
        [float(i + j) if not i * j else 0.0 for j in range(len(b) + 1)] for i in range(len(a) + 1)
    ]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            table[i][j] = min(
                table[i - 1][j] + 1,
                table[i][j - 1] + 1,
                table[i - 1][j - 1] + 1.5 * (a[i - 1] != b[j - 1]),
            )
    cost = len(a) + len(b) - 2 * len(pairs) + sum(1.5 * (a[i] != b[j]) for i, j in pairs)
    assert cost == table[-1][-1]
