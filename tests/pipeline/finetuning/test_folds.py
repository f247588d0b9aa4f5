"""Folds of training dialogues, and turning one encoder's space onto another's."""

import numpy as np
import pytest

from pipeline.finetuning.folds import _turn, fold_of
from pipeline.finetuning.lines import Line


def test_folds_are_whole_dialogues_of_even_size() -> None:
    lines = [Line(f"d{k}", str(u), "x", 0) for k in range(40) for u in range(1 + k % 7)]
    fold = fold_of(lines, 5, 0)
    assert all(
        len({fold[i] for i, line in enumerate(lines) if line.dialogue == name}) == 1
        for name in {line.dialogue for line in lines}
    )
    assert np.ptp(np.bincount(fold, minlength=5)) <= 7
    assert (fold == fold_of(lines, 5, 0)).all() and (fold != fold_of(lines, 5, 1)).any()
    with pytest.raises(ValueError, match="40 dialogues only"):
        fold_of(lines, 41, 0)


def test_turning_undoes_a_rotation() -> None:
    rng = np.random.default_rng(0)
    full = rng.normal(size=(200, 16)) + 3
    rotation, _ = np.linalg.qr(rng.normal(size=(16, 16)))
    own = (full - 1) @ rotation
    np.testing.assert_allclose(_turn(own[:150], full[:150])(own[150:]), full[150:], atol=1e-4)
