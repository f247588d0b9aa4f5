"""The gradient of a weighted sum of losses, for models that PGM does not train."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from css_model.interface import EmotionModel, Output
from css_model.pareto import set_gradients, shares_of_rank, sum_over_ranks

__all__ = ["WeightedSum"]


class WeightedSum:
    """Set `.grad` to the gradient of Σ w_i L_i with fixed weights.

    Under torch.distributed, every rank gets the gradient that a single rank would have on all data.
    """

    def __init__(self, model: EmotionModel, weights: Sequence[float]) -> None:
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.weights = tuple(weights)

    def backward(self, losses: Sequence[Tensor], output: Output) -> Tensor:
        """Set `.grad` of all parameters and return the weights, (3,) float64."""
        shares = shares_of_rank(losses)
        terms = [
            loss * (weight * share)
            for loss, weight, share in zip(losses, self.weights, shares, strict=True)
            if weight
        ]
        gradients = torch.autograd.grad(
            torch.stack(terms).sum(), self.parameters, allow_unused=True, materialize_grads=True
        )
        sum_over_ranks(gradients)
        set_gradients(self.parameters, gradients)
        return torch.tensor(self.weights, dtype=torch.float64)
