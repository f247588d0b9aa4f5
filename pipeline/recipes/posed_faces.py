"""Faces for the paired corpus: FER+ images as 342-d vectors of the face network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from extractors.face_weights import EMOTIONS as FERPLUS_EMOTIONS
from pipeline.core.fingerprints import sha256_of
from pipeline.corpora.meld_transcripts import EMOTIONS
from pipeline.recipes.cache import cached
from pipeline.recipes.ferplus import load_ferplus

__all__ = ["FacePool", "load_faces"]

# FER+ class -> MELD emotion; MELD has no contempt
MELD_OF = {
    "neutral": "neutral",
    "happiness": "joy",
    "surprise": "surprise",
    "sadness": "sadness",
    "anger": "anger",
    "disgust": "disgust",
    "fear": "fear",
}
# training images of one emotion: beyond that, the 10,000 of neutral and 7,000 of joy add nothing
LIMIT = 2500


@dataclass(frozen=True)
class FacePool:
    """vectors: (n, 342) float32; labels: (n,), indices into EMOTIONS."""

    vectors: np.ndarray
    labels: np.ndarray


def load_faces(
    path: Path, extractor: Any, report: Callable[[str], None] = lambda message: None
) -> tuple[FacePool, FacePool]:
    """Load (train, valid) faces with a majority label.

    valid has no exact copy of a training image.
    """
    meld_labels = [EMOTIONS.index(MELD_OF[e]) if e in MELD_OF else -1 for e in FERPLUS_EMOTIONS]
    to_meld = np.array([*meld_labels, -1])  # the last entry maps -1 (no majority) to -1
    data = sha256_of(path)
    # how faces are followed through a recording does not matter for pictures
    fingerprint = {k: v for k, v in extractor.fingerprint.items() if k != "following"}

    def extract(images: np.ndarray) -> np.ndarray:
        report(f"face vectors of {len(images)} images")
        return extractor.embed_faces(images)

    def pool(part: str, images: np.ndarray, labels: np.ndarray, limit: int | None) -> FacePool:
        per_emotion = [
            _sample(np.flatnonzero(labels == label), limit) for label in range(len(EMOTIONS))
        ]
        rows = np.sort(np.concatenate(per_emotion))
        key = {"fingerprint": fingerprint, "data": data, "part": part, "limit": LIMIT}
        return FacePool(cached("faces", key, partial(extract, images[rows])), labels[rows])

    train, valid = load_ferplus(path)
    return (
        pool("train", train.images.numpy(), to_meld[train.label.numpy()], LIMIT),
        pool("valid", valid.images.numpy(), to_meld[valid.label.numpy()], None),
    )


def _sample(rows: np.ndarray, limit: int | None) -> np.ndarray:
    if limit is None or len(rows) <= limit:
        return rows
    return np.random.default_rng(0).permutation(rows)[:limit]
