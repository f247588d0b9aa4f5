"""Assertions that several tests share."""

from __future__ import annotations

import numpy as np


def assert_distribution(probabilities: np.ndarray, tolerance: float = 1e-6) -> None:
    """Check that rows are probabilities: in [0, 1], summing to 1."""
    rows = np.atleast_2d(probabilities)
    assert np.isfinite(rows).all()
    assert (rows >= 0).all() and (rows <= 1 + tolerance).all()
    assert np.allclose(rows.sum(1), 1, atol=tolerance)
