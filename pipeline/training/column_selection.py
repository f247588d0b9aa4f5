"""Selection of feature columns by the weights of a linear SVM, as MELD's authors describe it."""

from __future__ import annotations

import numpy as np
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from pipeline.core.dialogue import Dialogue
from pipeline.core.errors import MercError

__all__ = ["select_columns"]


def select_columns(dialogues: list[Dialogue], modality: str, count: int) -> np.ndarray:
    """Return the `count` columns with the largest L2 norm over classes, in rising order.

    The norm is that of the weights of a linear SVM fitted to the labels. Pass training dialogues
    only: the selection uses their labels.

    Raises MercError if there are fewer columns, or fewer than two classes.
    """
    pairs = [(d.features[modality], d.labels) for d in dialogues if modality in d.features]
    usable = [(labels >= 0) & ~np.isnan(rows).any(1) for rows, labels in pairs]
    rows = np.concatenate([rows[use] for (rows, _), use in zip(pairs, usable, strict=True)])
    labels = np.concatenate([labels[use] for (_, labels), use in zip(pairs, usable, strict=True)])
    if count > rows.shape[1]:
        raise MercError(
            f"data.select_{modality}={count}: there are only {rows.shape[1]} columns",
            "ask for fewer",
        )
    if len(np.unique(labels)) < 2:
        raise MercError(
            f"data.select_{modality}: all training utterances that have {modality} are of one "
            "class",
            "set it to 0",
        )
    scaled = np.clip(StandardScaler().fit_transform(rows.astype(np.float64)), -10, 10)
    svm = LinearSVC(C=1e-3, dual="auto", max_iter=5000, random_state=0).fit(scaled, labels)
    strength = np.linalg.norm(svm.coef_, axis=0)
    return np.sort(np.argsort(-strength, kind="stable")[:count])
