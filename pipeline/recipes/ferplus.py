"""FER+: faces with the votes of ten people, and how well a face network reads them."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support
from torch import Tensor

from extractors.densenet import EMOTIONS, FaceNet

__all__ = ["Faces", "confusion_picture", "load_ferplus", "read_faces", "score_faces"]


class Faces(NamedTuple):
    """images (n, 48, 48) uint8, votes (n, 8) float32 shares, label (n,) int64, -1 where no majority."""

    images: Tensor
    votes: Tensor
    label: Tensor


def load_ferplus(path: Path) -> tuple[Faces, Faces]:
    """FER+ as (train, valid): single votes zeroed, valid without exact copies of training images.

    Raises ValueError when the file lacks `images`, `votes` or `split`, or their shapes differ.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            images, votes, split = file["images"], file["votes"], file["split"]
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(
            f"{path}: not a FER+ file (images, votes, split as npz arrays): {error}"
        ) from error
    if images.ndim != 3 or votes.shape != (len(images), 10) or split.shape != (len(images),):
        raise ValueError(
            f"{path}: want images (n, h, w), votes (n, 10), split (n,); have "
            f"{images.shape}, {votes.shape}, {split.shape}"
        )
    votes = np.where(votes <= 1, 0, votes).astype(np.float32)
    total = votes.sum(1)
    majority = (votes.max(1) > 0.5 * total) & (votes.argmax(1) < 8)
    label = np.where(majority, votes.argmax(1), -1)
    known = votes[:, :8].sum(1) > 0
    shares = votes[:, :8] / np.maximum(votes[:, :8].sum(1, keepdims=True), 1)

    keys = [hashlib.sha256(image.tobytes()).digest() for image in images]
    seen = {key for key, part in zip(keys, split, strict=True) if part == 0}
    copies = np.array([key in seen for key in keys])

    def part(rows: np.ndarray) -> Faces:
        return Faces(
            torch.from_numpy(images[rows]),
            torch.from_numpy(shares[rows]),
            torch.from_numpy(label[rows]),
        )

    train, valid = part((split == 0) & known), part((split == 1) & ~copies & majority)
    if not len(train.label) or not len(valid.label):
        raise ValueError(f"{path}: no training (split 0) or no validation faces (split 1)")
    return train, valid


@torch.no_grad()
def read_faces(net: FaceNet, images: Tensor, size: int | None = None, flip: bool = True) -> Tensor:
    """(n, h, w) uint8 faces to (n, 8) logits, averaged over mirror images if `flip`."""
    net.eval()
    logits = []
    for part in images.split(128):
        prepared = net.prepare(part, size)
        views = [prepared, prepared.flip(-1)] if flip else [prepared]
        logits.append(torch.stack([net(view) for view in views]).mean(0))
    return torch.cat(logits)


def score_faces(net: FaceNet, faces: Faces, size: int | None = None, flip: bool = True) -> dict:
    """Accuracy and F1 on majority labels, with 95 % bootstrap intervals over images; averaged over mirror images."""
    truth, guess = faces.label.numpy(), read_faces(net, faces.images, size, flip).argmax(1).numpy()
    labels = np.arange(len(EMOTIONS))
    precision, recall, f1, support = precision_recall_fscore_support(
        truth, guess, labels=labels, zero_division=0
    )
    often = labels[support >= 50]
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(truth), (1000, len(truth)))

    def macro(rows: np.ndarray | slice, classes: np.ndarray) -> float:
        return float(
            f1_score(truth[rows], guess[rows], labels=classes, average="macro", zero_division=0)
        )

    def interval(values: list[float] | np.ndarray) -> list[float]:
        return [round(float(v), 4) for v in np.percentile(values, [2.5, 97.5])]

    every = np.array(
        [
            f1_score(truth[d], guess[d], labels=labels, average=None, zero_division=0)
            for d in draws[:200]
        ]
    )
    everything = slice(None)
    return {
        "images": len(truth),
        "size": size or net.config.size,
        "mirrored": flip,
        "accuracy": float((truth == guess).mean()),
        "accuracy_interval": interval([(truth[d] == guess[d]).mean() for d in draws]),
        "macro_f1": macro(everything, labels),
        "macro_f1_interval": interval([macro(d, labels) for d in draws[:200]]),
        "macro_f1_of_50": macro(everything, often),
        "macro_f1_of_50_interval": interval([macro(d, often) for d in draws[:200]]),
        "per_class": {
            name: {
                "precision": float(precision[k]),
                "recall": float(recall[k]),
                "f1": float(f1[k]),
                "f1_interval": interval(every[:, k]),
                "support": int(support[k]),
            }
            for k, name in enumerate(EMOTIONS)
        },
        "confusion": confusion_matrix(truth, guess, labels=labels).tolist(),
    }


def confusion_picture(matrix: np.ndarray) -> bytes:
    """A PNG of the confusion matrix, rows the truth."""
    from matplotlib.figure import Figure
    from sklearn.metrics import ConfusionMatrixDisplay

    figure = Figure(figsize=(7, 6), layout="constrained")
    ConfusionMatrixDisplay(matrix, display_labels=EMOTIONS).plot(
        ax=figure.subplots(), xticks_rotation=45
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
