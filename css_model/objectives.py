"""Eqs. 11-13: the three training signals, averaged over labelled utterances with evidence."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from css_model.batch import Batch
from css_model.fusion import wide
from css_model.model import Output

__all__ = ["Losses", "inverse_frequency", "losses"]


class Losses(tuple[Tensor, Tensor, Tensor]):
    """(L1, L2, L3); `weights` holds the sums that each was divided by, so that ranks can be averaged exactly."""

    weights: tuple[float, float, float]


def losses(
    output: Output,
    batch: Batch,
    temperature: float = 1.0,
    detach_teacher: bool = True,
    literal: bool = False,
    class_weights: Tensor | None = None,
) -> Losses:
    """L1 (eq. 11), L2 (eq. 12), L3 (eq. 13): scalars in float32 or wider.

    μ = 1 for utterances with a label and at least one modality; sums over m run over the present modalities.
    temperature: T of eq. 13.  detach_teacher: no gradient of L3 through the fused branch.
    literal: eq. 13 as printed, a softmax of probabilities / T instead of logits / T.
    class_weights (c,): each term of L1 and L2 weighs w[label], and the average is a weighted one.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, not {temperature}")
    c = output.logits.shape[-1]
    if len(batch.labels) and int(batch.labels.max()) >= c:
        raise ValueError(
            f"label {int(batch.labels.max())} is out of range: the model has {c} classes"
        )
    known = torch.stack(list(output.present.values())).any(0)
    mask = (batch.labels >= 0) & known
    target = batch.labels.clamp(min=0)
    logits = wide(output.logits)
    mu = mask.to(logits.dtype)
    weight = mu if class_weights is None else mu * class_weights.to(mu)[target]
    teacher = _soft(logits.detach() if detach_teacher else logits, temperature, literal)
    l1 = (weight * F.cross_entropy(logits, target, reduction="none")).sum()
    l2, l3 = torch.zeros_like(l1), torch.zeros_like(l1)
    for name, raw in output.unimodal.items():
        raw, there = wide(raw), output.present[name].to(logits.dtype)
        l2 = l2 + (weight * there * F.cross_entropy(raw, target, reduction="none")).sum()
        divergence = F.kl_div(
            _soft(raw, temperature, literal), teacher, reduction="none", log_target=True
        ).sum(-1)
        l3 = l3 + (mu * there * divergence).sum()
    total, weighted = mu.sum(), weight.sum()
    result = Losses((l1 / _nonzero(weighted), l2 / _nonzero(weighted), l3 / _nonzero(total)))
    result.weights = (float(weighted), float(weighted), float(total))
    return result


def inverse_frequency(labels: Tensor, classes: int, power: float = 1.0) -> Tensor:
    """Class weights (n / (c n_k))^power of labels (n,), -1 ignored; 0 for a class without examples."""
    counts = torch.bincount(labels[labels >= 0], minlength=classes).double()
    return torch.where(
        counts > 0, (counts.sum() / (classes * counts.clamp(min=1))) ** power, 0
    ).float()


def _soft(logits: Tensor, temperature: float, literal: bool) -> Tensor:
    """Log of the temperature-scaled distribution ỹ."""
    return F.log_softmax((logits.softmax(-1) if literal else logits) / temperature, -1)


def _nonzero(total: Tensor) -> Tensor:
    return torch.where(total > 0, total, 1)
