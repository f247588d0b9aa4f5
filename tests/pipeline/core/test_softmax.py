"""The softmax equals scipy's."""

from __future__ import annotations

import numpy as np
from scipy import special

from pipeline.core.softmax import softmax


def test_softmax_is_that_of_scipy() -> None:

    scores = np.random.default_rng(0).normal(0, 300, (50, 7))
    np.testing.assert_allclose(softmax(scores), special.softmax(scores, axis=1), atol=1e-15)
    np.testing.assert_allclose(softmax(scores[0]), special.softmax(scores[0]), atol=1e-15)
    assert softmax(np.zeros((0, 7))).shape == (0, 7)
