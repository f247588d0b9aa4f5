"""L2-based choice of feature columns, as MELD's authors describe theirs: the largest weights of a linear SVM."""

from __future__ import annotations

import numpy as np
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from pipeline.core.dialogue import Dialogue

__all__ = ["select_columns"]


def select_columns(dialogues: list[Dialogue], modality: str, count: int) -> np.ndarray:
    """Indices, rising, of the `count` columns with the largest L2 norm over classes in a linear SVM of the labels.

    dialogues: those that train and no others, for the choice sees their labels.  Raises ValueError when there are fewer
    columns, or fewer than two classes.
    """
    pairs = [(d.features[modality], d.labels) for d in dialogues if modality in d.features]
    usable = [(labels >= 0) & ~np.isnan(rows).any(1) for rows, labels in pairs]
    rows = np.concatenate([rows[use] for (rows, _), use in zip(pairs, usable, strict=True)])
    labels = np.concatenate([labels[use] for (_, labels), use in zip(pairs, usable, strict=True)])
    if count > rows.shape[1]:
        raise ValueError(
            f"data.select_{modality}={count}: there are {rows.shape[1]} columns; ask for fewer"
        )
    if len(np.unique(labels)) < 2:
        raise ValueError(
            f"data.select_{modality}: the training utterances that have {modality} are of one class; "
            "set it to 0"
        )
    scaled = np.clip(StandardScaler().fit_transform(rows.astype(np.float64)), -10, 10)
    svm = LinearSVC(C=1e-3, dual="auto", max_iter=5000, random_state=0).fit(scaled, labels)
    strength = np.linalg.norm(svm.coef_, axis=0)
    return np.sort(np.argsort(-strength, kind="stable")[:count])
