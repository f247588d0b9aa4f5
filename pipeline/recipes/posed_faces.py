"""Faces for the paired corpus: FER+ images as 342-d vectors of the face network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.fingerprints import sha256_of
from pipeline.corpora.meld_transcripts import EMOTIONS
from pipeline.recipes.cache import cached

__all__ = ["FacePool", "load_faces"]

# FER+ class -> MELD emotion; contempt has none
MELD_OF = {
    "neutral": "neutral",
    "happiness": "joy",
    "surprise": "surprise",
    "sadness": "sadness",
    "anger": "anger",
    "disgust": "disgust",
    "fear": "fear",
}
MOST = 2500  # images of one emotion in training: neutral and joy have 10,000 and 7,000, of which more teach nothing


@dataclass(frozen=True)
class FacePool:
    """vectors (n, 342) float32; labels (n,) of the seven EMOTIONS."""

    vectors: np.ndarray
    labels: np.ndarray


def load_faces(
    path: Path, extractor: Any, report: Callable[[str], None] = lambda message: None
) -> tuple[FacePool, FacePool]:
    """(train, valid) faces with a majority label; valid holds no exact copy of a training image."""
    from extractors.densenet import EMOTIONS as FERPLUS
    from pipeline.recipes.ferplus import load_ferplus

    to_meld = np.array(
        [EMOTIONS.index(MELD_OF[name]) if name in MELD_OF else -1 for name in FERPLUS] + [-1]
    )
    pools = []
    data = sha256_of(path)
    for name, faces in zip(("train", "valid"), load_ferplus(path), strict=True):
        labels = to_meld[faces.label.numpy()]
        rows = np.sort(
            np.concatenate(
                [_some(np.flatnonzero(labels == label), name) for label in range(len(EMOTIONS))]
            )
        )

        key = {"fingerprint": extractor.fingerprint, "data": data, "part": name, "most": MOST}
        vectors = cached(
            "faces", key, partial(_embed, faces.images.numpy(), rows, extractor, report)
        )
        pools.append(FacePool(vectors, labels[rows]))
    return pools[0], pools[1]


def _embed(
    images: np.ndarray, rows: np.ndarray, extractor: Any, report: Callable[[str], None]
) -> np.ndarray:
    report(f"face vectors of {len(rows)} images")
    return extractor.embed_faces(images[rows])


def _some(rows: np.ndarray, part: str) -> np.ndarray:
    return (
        rows
        if part == "valid" or len(rows) <= MOST
        else np.random.default_rng(0).permutation(rows)[:MOST]
    )
