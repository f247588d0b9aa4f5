"""Logistic regression on features: how well a linear classifier reads the labels from them."""

from __future__ import annotations

import numpy as np

__all__ = ["probe"]


def probe(
    features: np.ndarray, labels: np.ndarray, others: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Fit a probe to (n, d) features and (n,) labels; return its labels for each of `others`.

    >>> rows = np.array([[-1.0], [-2.0], [1.0], [2.0]])
    >>> probe(rows, np.array([0, 0, 1, 1]), {"test": np.array([[-3.0], [3.0]])})["test"]
    array([0, 1])
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))
    model.fit(features, labels)
    return {
        name: model.predict(rows) if len(rows) else np.zeros(0, np.int64)
        for name, rows in others.items()
    }
