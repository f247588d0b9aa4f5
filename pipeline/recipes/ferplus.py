"""FER+: faces labelled by ten people, and the scores of a face network on them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support
from torch import Tensor

from extractors.densenet import EMOTIONS, FaceNet
from pipeline.core.errors import MercError
from pipeline.core.render import png

__all__ = ["Faces", "confusion_picture", "load_ferplus", "read_faces", "score_faces"]

CLASSES = np.arange(len(EMOTIONS))
DRAWS = 1000  # bootstrap samples; F1 is slow and takes the first F1_DRAWS of them
F1_DRAWS = 200


class Faces(NamedTuple):
    """Labelled face images.

    images: (n, 48, 48) uint8.
    votes: (n, 8) float32, the share of the votes for each class.
    label: (n,) int64, the class with the majority of the votes; -1 if no class has it.
    """

    images: Tensor
    votes: Tensor
    label: Tensor


def load_ferplus(path: Path) -> tuple[Faces, Faces]:
    """Load FER+ as (train, valid).

    Single votes are set to zero (Barsoum et al. 2016). valid has no exact copy of a training image
    and only images with a majority label. Raises MercError if the file lacks `images`, `votes` or
    `split`, their shapes do not match, or a part is empty.
    """
    images, votes, split = _read_arrays(path)
    votes = np.where(votes <= 1, 0, votes).astype(np.float32)
    # the last two of the ten columns are "unknown" and "not a face"
    majority = (votes.max(1) > 0.5 * votes.sum(1)) & (votes.argmax(1) < len(EMOTIONS))
    label = np.where(majority, votes.argmax(1), -1)
    votes = votes[:, : len(EMOTIONS)]
    total = votes.sum(1)
    shares = votes / np.maximum(total, 1)[:, None]

    hashes = [hashlib.sha256(image.tobytes()).digest() for image in images]
    in_training = {key for key, part in zip(hashes, split, strict=True) if part == 0}
    copies = np.array([key in in_training for key in hashes])

    def select(mask: np.ndarray) -> Faces:
        return Faces(*(torch.from_numpy(rows[mask]) for rows in (images, shares, label)))

    train = select((split == 0) & (total > 0))
    valid = select((split == 1) & ~copies & majority)
    for name, number, faces in (("training", 0, train), ("validation", 1, valid)):
        if not len(faces.label):
            raise MercError(
                f"{path}: no {name} faces", f"mark some with {number} in the array `split`"
            )
    return train, valid


def _read_arrays(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    remedy = "give an npz of images (n, h, w), votes (n, 10), split (n,); see docs/merc-offline.md"
    try:
        with np.load(path, allow_pickle=False) as file:
            images, votes, split = file["images"], file["votes"], file["split"]
    except (KeyError, ValueError, OSError) as error:
        raise MercError(f"{path}: not a FER+ file: {error}", remedy) from error
    if images.ndim != 3 or votes.shape != (len(images), 10) or split.shape != (len(images),):
        raise MercError(
            f"{path}: images {images.shape}, votes {votes.shape}, split {split.shape} do not match",
            remedy,
        )
    return images, votes, split


@torch.no_grad()
def read_faces(net: FaceNet, images: Tensor, size: int | None = None, flip: bool = True) -> Tensor:
    """Compute (n, 8) logits of (n, h, w) uint8 faces.

    size: side in pixels at which the network reads them; None for its own.
    flip: average over each image and its mirror image.
    """
    net.eval()
    logits = []
    for batch in images.split(128):
        prepared = net.prepare(batch, size)
        views = [prepared, prepared.flip(-1)] if flip else [prepared]
        logits.append(torch.stack([net(view) for view in views]).mean(0))
    return torch.cat(logits)


def score_faces(
    net: FaceNet, faces: Faces, size: int | None = None, flip: bool = True
) -> dict[str, Any]:
    """Return accuracy and F1 on majority labels, with 95 % bootstrap intervals over images.

    size and flip are those of `read_faces`.
    """
    truth = faces.label.numpy()
    predicted = read_faces(net, faces.images, size, flip).argmax(1).numpy()
    draws = np.random.default_rng(0).integers(0, len(truth), (DRAWS, len(truth)))
    return {
        "images": len(truth),
        "size": size or net.config.size,
        "mirrored": flip,
        "accuracy": float((truth == predicted).mean()),
        "accuracy_interval": _interval([(truth[d] == predicted[d]).mean() for d in draws]),
        **_f1_scores(truth, predicted, draws[:F1_DRAWS]),
        "confusion": confusion_matrix(truth, predicted, labels=CLASSES).tolist(),
    }


def _f1_scores(truth: np.ndarray, predicted: np.ndarray, draws: np.ndarray) -> dict[str, Any]:
    precision, recall, f1, support = precision_recall_fscore_support(
        truth, predicted, labels=CLASSES, zero_division=0
    )
    frequent = CLASSES[support >= 50]

    def f1_of(rows: np.ndarray | slice, classes: np.ndarray, average: str | None) -> Any:
        return f1_score(
            truth[rows], predicted[rows], labels=classes, average=average, zero_division=0
        )

    everything = slice(None)
    per_draw = np.array([f1_of(d, CLASSES, None) for d in draws])
    per_class = {}
    for index, name in enumerate(EMOTIONS):
        per_class[name] = {
            "precision": float(precision[index]),
            "recall": float(recall[index]),
            "f1": float(f1[index]),
            "f1_interval": _interval(per_draw[:, index]),
            "support": int(support[index]),
        }
    return {
        "macro_f1": float(f1_of(everything, CLASSES, "macro")),
        "macro_f1_interval": _interval([float(f1_of(d, CLASSES, "macro")) for d in draws]),
        "macro_f1_of_50": float(f1_of(everything, frequent, "macro")),
        "macro_f1_of_50_interval": _interval([float(f1_of(d, frequent, "macro")) for d in draws]),
        "per_class": per_class,
    }


def _interval(values: list[float] | np.ndarray) -> list[float]:
    return [round(float(value), 4) for value in np.percentile(values, [2.5, 97.5])]


def confusion_picture(matrix: np.ndarray) -> bytes:
    """Draw a confusion matrix as PNG; its rows are the true classes."""
    from matplotlib.figure import Figure
    from sklearn.metrics import ConfusionMatrixDisplay

    figure = Figure(figsize=(7, 6), layout="constrained")
    display = ConfusionMatrixDisplay(matrix, display_labels=EMOTIONS)
    display.plot(ax=figure.subplots(), xticks_rotation=45)
    return png(figure)
