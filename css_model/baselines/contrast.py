"""Contrastive losses: of two views of the same vectors, and of vectors with the same label."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from css_model.fusion import wide

__all__ = ["contrast_labels", "contrast_views", "masked_mean"]


def contrast_views(a: Tensor, b: Tensor, known: Tensor, temperature: float) -> Tensor:
    """Return the mean cross-entropy of finding a row of one view among those of the other.

    a, b: views (B, n, d). known: (B, n, 1) bool. Rows are compared by cosine / temperature with
    those of the same B, in both directions.
    """
    a, b = F.normalize(wide(a), dim=-1), F.normalize(wide(b), dim=-1)
    terms = []
    for one, other in ((a, b), (b, a)):
        scores = one @ other.transpose(1, 2) / temperature
        scores = scores.masked_fill(~known.transpose(1, 2), -1e9)
        terms.append(scores.log_softmax(2).diagonal(dim1=1, dim2=2)[..., None])
    return -masked_mean((terms[0] + terms[1]) / 2, known)


def contrast_labels(rows: Tensor, labels: Tensor, use: Tensor, temperature: float) -> Tensor:
    """Return the supervised contrastive loss (Khosla et al. 2020, L_out) over the rows in use.

    rows: (N, d). labels: (N,) int64. use: (N,) bool. For every row, it is the mean cross-entropy of
    finding the others of its label among all others; a row that is alone with its label has none.
    """
    unit, labels = F.normalize(wide(rows[use]), dim=-1), labels[use]
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    scores = (unit @ unit.T / temperature).masked_fill(itself, -1e9)
    same = (labels[:, None] == labels) & ~itself
    found = torch.where(same, F.log_softmax(scores, 1), 0).sum(1) / same.sum(1).clamp(min=1)
    return -masked_mean(found, same.any(1))


def masked_mean(terms: Tensor, use: Tensor) -> Tensor:
    """Return the mean of the terms where `use` is true, 0 without any. Shapes as for `where`."""
    return torch.where(use, wide(terms), 0).sum() / use.sum().clamp(min=1)
