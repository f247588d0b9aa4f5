"""Split screens: which utterances vote on the sides, and how they are counted."""

from __future__ import annotations

from pipeline.core.dialogue import Utterance
from pipeline.features.split_screen import CHECKED, MIN_CONFIDENCE, _without_overlap, agreement


def test_only_confident_mouths_vote():
    rows = [
        {"half": "l", "mouth": "l", "mouth_confidence": MIN_CONFIDENCE},
        {"half": "l", "mouth": "r", "mouth_confidence": 0.2},
        {"half": "r", "mouth": "l", "mouth_confidence": 0.99},
        {"half": "r"},
    ]
    assert agreement(rows) == (1, 1)


def test_overlapping_short_and_long_utterances_do_not_vote():
    spans = [(0, 2), (1.5, 3), (3, 5), (5, 5.5), (6, 20), (20, 22)]
    utterances = [Utterance(start, end, "x") for start, end in spans]
    assert _without_overlap(utterances, "lrlrlr") == [2, 5]
    many = [Utterance(2 * k, 2 * k + 2, "x") for k in range(40)]
    chosen = _without_overlap(many, "l" * 30 + "r" * 10)
    assert chosen == [*range(CHECKED), *range(30, 30 + CHECKED)]
