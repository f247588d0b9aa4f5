"""Logistic regression of features: how much of the labels a linear reader finds in them."""

from __future__ import annotations

import numpy as np

__all__ = ["probe"]


def probe(
    features: np.ndarray, labels: np.ndarray, others: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Fit on (n, d) standardised features and labels (n,); the labels it gives each of the others."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300)).fit(
        features, labels
    )
    return {
        name: model.predict(rows) if len(rows) else np.zeros(0, np.int64)
        for name, rows in others.items()
    }
