"""Eqs. 11-13: the three losses, averaged over labelled utterances with at least one modality."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from css_model.batch import Batch
from css_model.fusion import wide
from css_model.model import Output

__all__ = ["Losses", "inverse_frequency", "losses", "unimodal_scores"]


class Losses(tuple[Tensor, Tensor, Tensor]):
    """(L1, L2, L3).

    weights: the sums that each was divided by, for an exact average over the ranks.
    scores: modality -> (2,), sum over the utterances that have the modality and a label of the
        probability that it alone gives the label, and their number.
    """

    weights: tuple[float, float, float]
    scores: dict[str, Tensor]


def losses(
    output: Output,
    batch: Batch,
    temperature: float = 1.0,
    detach_teacher: bool = True,
    literal: bool = False,
    class_weights: Tensor | None = None,
) -> Losses:
    """Compute L1 (eq. 11), L2 (eq. 12) and L3 (eq. 13): scalars in float32 or wider.

    μ is 1 for utterances with a label and at least one modality. Sums over m run over the
    modalities that are present.

    temperature: T of eq. 13.
    detach_teacher: no gradient of L3 through the fused branch.
    literal: eq. 13 as printed: a softmax of probabilities / T instead of logits / T.
    class_weights: (c,); each term of L1 and L2 is weighted by that of its label, and the average
        over utterances is a weighted one.

    Raises ValueError for a label out of range or a temperature that is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, not {temperature}")
    c = output.logits.shape[-1]
    largest = int(batch.labels.max()) if len(batch.labels) else -1
    if largest >= c:
        raise ValueError(f"label {largest} is out of range: the model has {c} classes")
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
        raw, mask_m = wide(raw), output.present[name].to(logits.dtype)
        l2 = l2 + (weight * mask_m * F.cross_entropy(raw, target, reduction="none")).sum()
        student = _soft(raw, temperature, literal)
        divergence = F.kl_div(student, teacher, reduction="none", log_target=True).sum(-1)
        l3 = l3 + (mu * mask_m * divergence).sum()
    total, weighted = mu.sum(), weight.sum()
    result = Losses((l1 / _nonzero(weighted), l2 / _nonzero(weighted), l3 / _nonzero(total)))
    result.weights = (float(weighted), float(weighted), float(total))
    result.scores = unimodal_scores(output, mask, target)
    return result


def unimodal_scores(output: Output, mask: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return `Losses.scores`. mask: (N,) bool, labelled utterances. labels: (N,) int64, from 0."""
    scores = {}
    for name, logits in output.unimodal.items():
        use = mask & output.present[name]
        right = wide(logits.detach()).softmax(-1).gather(1, labels[:, None]).squeeze(1)
        scores[name] = torch.stack([(right * use).sum(), use.sum().to(right)])
    return scores


def inverse_frequency(labels: Tensor, classes: int, power: float = 1.0) -> Tensor:
    """Return class weights (n / (c n_k))^power, (c,) float32; 0 for a class without examples.

    labels: (n,) int64; -1 is ignored.

    >>> inverse_frequency(torch.tensor([0, 0, 0, 1, -1]), 2)
    tensor([0.6667, 2.0000])
    """
    counts = torch.bincount(labels[labels >= 0], minlength=classes).double()
    weights = (counts.sum() / (classes * counts.clamp(min=1))) ** power
    return torch.where(counts > 0, weights, 0).float()


def _soft(logits: Tensor, temperature: float, literal: bool) -> Tensor:
    """Return the log of the temperature-scaled distribution ỹ of eq. 13."""
    return F.log_softmax((logits.softmax(-1) if literal else logits) / temperature, -1)


def _nonzero(total: Tensor) -> Tensor:
    return torch.where(total > 0, total, 1)
