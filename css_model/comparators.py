"""Fusions to compare SPF with. Each maps modality -> (N, d) to (N, d), as SPF does.

Missing modalities are zero rows with a mask: sums leave them out, products use the factor 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from css_model.config import CSSConfig
from css_model.fusion import SynergisticPolynomialFusion, signed_sqrt

__all__ = ["FUSIONS", "make_fusion"]


class Concatenation(nn.Module):
    """One linear map of the concatenation (the paper's row "without SPF")."""

    def __init__(self, config: CSSConfig) -> None:
        super().__init__()
        self.modalities = config.modalities
        self.out = nn.Linear(len(self.modalities) * config.d, config.d)

    def forward(self, hidden: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        return self.out(torch.cat([hidden[name] for name in self.modalities], -1))


class Perceptron(nn.Module):
    """The concatenation through a GELU layer of d units, the simplest nonlinear fusion."""

    def __init__(self, config: CSSConfig) -> None:
        super().__init__()
        self.modalities = config.modalities
        self.layers = nn.Sequential(
            nn.Linear(len(self.modalities) * config.d, config.d),
            nn.GELU(),
            nn.Linear(config.d, config.d),
        )

    def forward(self, hidden: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        return self.layers(torch.cat([hidden[name] for name in self.modalities], -1))


class LowRankMultimodal(nn.Module):
    """LMF (Liu et al. 2018): the sum of four rank-1 terms Π_m W^(m) [h^(m); 1], projected to d.

    Each term has `rank` components.
    """

    TERMS = 4

    def __init__(self, config: CSSConfig) -> None:
        super().__init__()
        self.rank = config.rank
        self.factors = nn.ModuleDict(
            {name: nn.Linear(config.d, self.TERMS * config.rank) for name in config.modalities}
        )
        for parameter in self.factors.parameters():
            nn.init.normal_(parameter, std=1 / math.sqrt(config.d) if parameter.dim() == 2 else 0)
        self.out = nn.Linear(config.rank, config.d)

    def forward(self, hidden: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        z = torch.ones((), device=next(iter(hidden.values())).device)
        for name, factor in self.factors.items():
            z = z * torch.where(present[name][:, None], factor(hidden[name]).float(), 1)
        return self.out(z.unflatten(-1, (self.TERMS, self.rank)).sum(1))


class LowRankBilinear(nn.Module):
    """MLB (Kim et al. 2017) over every pair of modalities: P (tanh(U h^(a)) ⊙ tanh(V h^(b))).

    A modality has one projection for all its pairs; P maps the products of all pairs.
    """

    def __init__(self, config: CSSConfig) -> None:
        super().__init__()
        self.pairs = _pairs(config.modalities)
        self.factors = nn.ModuleDict(
            {name: nn.Linear(config.d, config.rank) for name in config.modalities}
        )
        self.out = nn.Linear(config.rank * len(self.pairs), config.d)

    def forward(self, hidden: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        sides = {
            name: torch.where(present[name][:, None], factor(hidden[name]).float().tanh(), 1)
            for name, factor in self.factors.items()
        }
        return self.out(torch.cat([sides[a] * sides[b] for a, b in self.pairs], -1))


class FactorisedBilinear(nn.Module):
    """MFB (Yu et al. 2017) over every pair of modalities.

    The product of both sides is summed over windows of 5, then the signed square root is taken and
    the result normalised to length 1.
    """

    WINDOW = 5

    def __init__(self, config: CSSConfig) -> None:
        super().__init__()
        self.modalities, self.rank = config.modalities, config.rank
        self.factors = nn.ModuleDict(
            {name: nn.Linear(config.d, config.rank * self.WINDOW) for name in config.modalities}
        )
        self.pairs = _pairs(config.modalities)
        self.out = nn.Linear(config.rank * len(self.pairs), config.d)

    def forward(self, hidden: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        sides = {
            name: torch.where(present[name][:, None], factor(hidden[name]).float(), 1)
            for name, factor in self.factors.items()
        }
        pooled = [
            (sides[a] * sides[b]).unflatten(-1, (self.rank, self.WINDOW)).sum(-1)
            for a, b in self.pairs
        ]
        return self.out(torch.cat([F.normalize(signed_sqrt(z), dim=-1) for z in pooled], -1))


class PolynomialPooling(nn.Module):
    """PTP (Hou et al. 2019): Π_j (W_j Σ_m h^(m) + w_j), linear, without gates.

    The modalities share the projections. The constant w_j is a column of the same random
    projection, so it starts as small as the others, as SPF's starts at 0.
    """

    def __init__(self, config: CSSConfig) -> None:
        super().__init__()
        self.order, self.rank = config.order, config.rank
        self.factor = nn.Linear(config.d, config.order * config.rank)
        for parameter in self.factor.parameters():
            nn.init.normal_(parameter, std=1 / math.sqrt(len(config.modalities) * config.d))
        self.out = nn.Linear(config.rank, config.d)

    def forward(self, hidden: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        z = self.factor(torch.stack(list(hidden.values())).sum(0)).float()
        return self.out(z.unflatten(-1, (self.order, self.rank)).prod(1))


class SoftmaxGate(nn.Module):
    """SDT's fusion (Ma et al. 2024): Σ_m softmax_m(U h^(m)) h^(m), element by element."""

    def __init__(self, config: CSSConfig) -> None:
        super().__init__()
        self.modalities = config.modalities
        self.gate = nn.Linear(config.d, config.d, bias=False)

    def forward(self, hidden: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        rows = torch.stack([hidden[name] for name in self.modalities])  # (M, N, d)
        available = torch.stack([present[name] for name in self.modalities]).unsqueeze(-1)
        # large and finite instead of -inf, which would give NaN if all modalities are missing
        scores = self.gate(rows).float().masked_fill(~available, -1e30)
        return (scores.softmax(0) * rows).sum(0)


def _pairs(names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return all pairs; a single modality is paired with itself."""
    return list(combinations(names, 2)) or [(names[0], names[0])]


def _spf(config: CSSConfig) -> nn.Module:
    return SynergisticPolynomialFusion(
        config.modalities,
        config.d,
        order=config.order,
        rank=config.rank,
        modality_specific=config.modality_specific,
    )


FUSIONS: dict[str, Callable[[CSSConfig], nn.Module]] = {
    "spf": _spf,
    "concat": Concatenation,
    "mlp": Perceptron,
    "lmf": LowRankMultimodal,
    "mlb": LowRankBilinear,
    "mfb": FactorisedBilinear,
    "ptp": PolynomialPooling,
    "gate": SoftmaxGate,
}


def make_fusion(config: CSSConfig) -> nn.Module:
    """Return the fusion `config.fusion` of `FUSIONS`."""
    return FUSIONS[config.fusion](config)
