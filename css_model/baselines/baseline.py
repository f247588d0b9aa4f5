"""What the comparison models share: masked inputs, and the average over labelled utterances."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from css_model.balance import Modulator
from css_model.batch import Batch
from css_model.fusion import wide
from css_model.interface import EmotionModel, Output
from css_model.objectives import Losses, unimodal_scores
from css_model.weighted import WeightedSum

__all__ = ["Baseline", "Target"]


class Baseline(EmotionModel):
    """A comparison model. Its losses are up to three terms; `loss_weights` weighs them.

    autocast: whether training in bfloat16 was tested and helps; `train.bf16=auto` uses it then.
    """

    autocast = False

    @property
    def loss_weights(self) -> tuple[float, float, float]:
        """The weights of the three terms of `losses`; 0 for a term that the model does not have."""
        return (1.0, 0.0, 0.0)

    def modulator(self) -> Modulator:
        """Return what sets the gradients of a training step: by default, the weighted sum."""
        return WeightedSum(self, self.loss_weights)

    def losses(self, output: Output, batch: Batch, class_weights: Tensor | None = None) -> Losses:
        """Compute the loss of the emotion and up to two others, scalars in float32 or wider.

        class_weights: (c,); the cross-entropy is a weighted average over utterances.

        The default is the cross-entropy of the logits alone.
        """
        target = Target(output, batch, class_weights)
        first = target.cross_entropy(output.logits)
        return target.losses(first, torch.zeros_like(first), torch.zeros_like(first))

    def features(self, batch: Batch, present: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return modality -> (N, width), zero where missing, for all modalities of the model."""
        rows = {}
        for name, width in self.config.widths:
            given = batch.features.get(name)
            if given is None:
                given = torch.zeros(len(batch), width, device=batch.speakers.device)
            rows[name] = given.masked_fill(~present[name][:, None], 0)
        return rows

    def projected(
        self,
        batch: Batch,
        present: dict[str, Tensor],
        layers: nn.ModuleDict,
        extra: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return modality -> its layer's output plus `extra`, (N, d), zero where missing.

        layers: modality -> a map of its features (N, width) to (N, d). extra: (N, d).
        """
        rows = {}
        for name, x in self.features(batch, present).items():
            h = layers[name](x)
            h = h if extra is None else h + extra
            rows[name] = torch.where(present[name][:, None], h, 0)
        return rows


class Target:
    """The utterances that a loss averages over: labelled, with at least one modality.

    mask: (N,) bool. labels: (N,) int64, 0 where there is none. weight: (N,) of each utterance.
    """

    def __init__(self, output: Output, batch: Batch, class_weights: Tensor | None = None) -> None:
        largest = int(batch.labels.max()) if len(batch.labels) else -1
        classes = output.logits.shape[-1]
        if largest >= classes:
            raise ValueError(f"label {largest} is out of range: the model has {classes} classes")
        self.mask = (batch.labels >= 0) & torch.stack(list(output.present.values())).any(0)
        self.labels = batch.labels.clamp(min=0)
        self.output = output
        mu = self.mask.to(wide(output.logits).dtype)
        self.weight = mu if class_weights is None else mu * class_weights.to(mu)[self.labels]

    def cross_entropy(self, logits: Tensor, use: Tensor | None = None) -> Tensor:
        """Return the weighted mean cross-entropy; `use` (N,) bool further restricts the sum."""
        terms = F.cross_entropy(wide(logits), self.labels, reduction="none")
        weight = self.weight if use is None else self.weight * use.to(self.weight)
        return (weight * terms).sum() / _nonzero(self.weight.sum())

    def mean(self, terms: Tensor, use: Tensor | None = None) -> Tensor:
        """Return the sum of `terms` (N,), divided by the number of utterances of the mask."""
        mu = self.mask.to(terms.dtype)
        chosen = mu if use is None else mu * use.to(mu)
        return (chosen * terms).sum() / _nonzero(mu.sum())

    def losses(self, *terms: Tensor) -> Losses:
        """Return three terms, with what an average over ranks needs."""
        result = Losses(terms)
        count = float(self.mask.sum())
        result.weights = (float(self.weight.sum()), count, count)
        result.scores = unimodal_scores(self.output, self.mask, self.labels)
        return result


def _nonzero(total: Tensor) -> Tensor:
    return torch.where(total > 0, total, 1)
