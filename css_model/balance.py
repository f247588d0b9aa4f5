"""Ada2I's gradient scaling: slow down the encoder of a modality that is ahead of the others.

Nguyen et al. 2024, Ada2I: Enhancing Modality Balance for Multimodal Conversational Emotion
Recognition, ACM Multimedia; after OGM-GE (Peng et al. 2022) for two modalities.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from css_model.interface import Output
from css_model.pareto import sum_over_ranks

__all__ = ["BalancedGradients", "Modulator", "by_modality", "discrepancy_factors"]


class Modulator(Protocol):
    """What sets `.grad` of a model's parameters from its losses."""

    def backward(self, losses: Sequence[Tensor], output: Output) -> Tensor:
        """Set `.grad` and return the weights of the losses, (3,) float64."""


class BalancedGradients:
    """Set `.grad` by another modulator, then scale those of every modality's encoder.

    groups: modality -> parameters of its encoder. strength: α of `discrepancy_factors`.
    factors: modality -> k of the last step.

    The losses need `scores`, as `css_model.objectives.losses` sets them. Ada2I also adds noise to
    the scaled gradients; this does not.
    """

    def __init__(
        self, inner: Modulator, groups: Mapping[str, Sequence[nn.Parameter]], strength: float
    ) -> None:
        self.inner, self.strength = inner, strength
        self.groups = {name: list(parameters) for name, parameters in groups.items()}
        self.factors: dict[str, float] = {}

    def backward(self, losses: Sequence[Tensor], output: Output) -> Tensor:
        """Set `.grad` of all parameters and return the weights of the losses, (3,) float64."""
        gamma = self.inner.backward(losses, output)
        scores: dict[str, Tensor] = getattr(losses, "scores", {})
        self.factors = discrepancy_factors(_means(scores), self.strength)
        for name, factor in self.factors.items():
            for parameter in self.groups.get(name, []):
                if parameter.grad is not None and factor != 1:
                    parameter.grad = parameter.grad * factor
        return gamma


def discrepancy_factors(scores: Mapping[str, float], strength: float) -> dict[str, float]:
    """Return k^m = 1 - tanh(α ρ^m) where ρ^m > 1, else 1.

    scores: modality -> mean probability of the true class by this modality alone. ρ^m is its ratio
    to the mean of the others. strength: α.

    >>> discrepancy_factors({"text": 0.6, "audio": 0.2, "visual": 0.2}, 0.1)["audio"]
    1.0
    >>> round(discrepancy_factors({"text": 0.6, "audio": 0.2, "visual": 0.2}, 0.1)["text"], 4)
    0.7087
    """
    factors = {}
    for name, score in scores.items():
        others = [value for other, value in scores.items() if other != name]
        mean = sum(others) / len(others) if others else 0.0
        ratio = score / mean if mean > 0 else 1.0
        factors[name] = 1 - math.tanh(strength * ratio) if ratio > 1 else 1.0
    return factors


def by_modality(dictionaries: Sequence[nn.ModuleDict]) -> dict[str, list[nn.Parameter]]:
    """Collect the parameters of modules that are kept by modality."""
    groups: dict[str, list[nn.Parameter]] = {}
    for modules in dictionaries:
        for name, module in modules.items():
            groups.setdefault(name, []).extend(module.parameters())
    return groups


def _means(scores: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the mean over the utterances of all ranks; modalities without any are left out."""
    if not scores:
        return {}
    sums = torch.stack(list(scores.values())).double()
    sum_over_ranks([sums])
    return {
        name: total / count
        for name, (total, count) in zip(scores, sums.tolist(), strict=True)
        if count
    }
