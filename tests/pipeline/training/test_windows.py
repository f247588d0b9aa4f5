"""Dialogues of any length: overlapping windows, and the whole where it fits."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from css_model import CSSConfig, collate, make_model
from pipeline.core.dialogue import Dialogue
from pipeline.training.predictor import WINDOW, compute_logits, windows


@given(st.integers(0, 1000), st.integers(2, 128))
def test_windows_use_every_utterance_once_with_its_context(count, size):
    found = windows(count, size)
    assert found[0].first == 0 and found[-1].last == count
    assert all(a.last == b.first for a, b in pairwise(found))
    for window in found:
        assert window.start <= window.first <= window.last <= window.end
        assert window.end - window.start == min(count, size)
        # a quarter of the window on each side, but at the ends of the dialogue
        assert window.first == 0 or window.first - window.start >= size // 4
        assert window.last == count or window.end - window.last >= size // 4
    if count <= size:
        assert len(found) == 1


def dialogue(count, seed=0):
    rng = np.random.default_rng(seed)
    return Dialogue(
        "x",
        "test",
        [str(k) for k in range(count)],
        [f"S{k % 3}" for k in range(count)],
        [""] * count,
        np.full(count, -1),
        {"text": rng.standard_normal((count, 4)).astype(np.float32)},
    )


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = CSSConfig(widths={"text": 4}, labels=("joy", "anger"), d=8, heads=2, hidden=8)
    return make_model(config).eval()


def test_what_fits_is_read_as_a_whole(model):
    for count in (0, 1, 33, WINDOW):
        one = dialogue(count)
        whole = model(collate([one])).logits.detach().numpy() if count else np.zeros((0, 2))
        np.testing.assert_allclose(compute_logits(model, [one])[0], whole, atol=1e-5)


def test_a_long_dialogue_reads_near_context_only(model):
    long = dialogue(3 * WINDOW)
    before = compute_logits(model, [long, dialogue(5)])
    assert [len(rows) for rows in before] == [3 * WINDOW, 5]
    long.features["text"][-1] += 3  # far from the first half
    after = compute_logits(model, [long])[0]
    np.testing.assert_allclose(after[:WINDOW], before[0][:WINDOW], atol=1e-6)
    assert np.abs(after[-20:] - before[0][-20:]).max() > 1e-4
