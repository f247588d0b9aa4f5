"""Eqs. 7-10: Synergistic Polynomial Fusion, and the choice among it and its comparators."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["SynergisticPolynomialFusion", "signed_sqrt", "wide"]

EPS = 1e-4  # of eq. 9: its raw form has an infinite slope at 0, this one of 100


def signed_sqrt(z: Tensor, eps: float = EPS) -> Tensor:
    """Eq. 9 as z / sqrt(|z| + eps): odd, monotone, with a finite slope at 0."""
    return z / (z.abs() + eps).sqrt()


class SynergisticPolynomialFusion(nn.Module):
    """z = Π_j (Σ_m λ_j^(m) GELU(W_j^(m) h^(m)) + w_j), then the signed square root and a projection.

    A CP-factorised polynomial of order p over the modalities and a constant: expanded, it has (modalities + 1)^p
    terms.  The product is taken in float32 (or wider) also under autocast.
    modality_specific=False ("without MSP"): one W_j shared by all modalities, and no static gate λ.
    """

    def __init__(
        self,
        modalities: Sequence[str],
        d: int,
        out: int | None = None,
        order: int = 3,
        rank: int = 16,
        modality_specific: bool = True,
    ) -> None:
        super().__init__()
        self.modalities, self.order, self.rank = tuple(modalities), order, rank
        count = len(self.modalities)
        # std 4 / sqrt(3 d): with the usual small start the product of p factors vanishes; for h of rms about 1
        self.weight = nn.Parameter(
            torch.randn(count if modality_specific else 1, order * rank, d)
            * (4 / math.sqrt(count * d))
        )
        self.gate = (
            nn.Parameter(torch.zeros(order, count)) if modality_specific else None
        )  # λ = σ(gate), start ½
        # w_j starts at 0: at 1 the product stays almost linear and learns nothing multiplicative
        self.constant = nn.Parameter(torch.zeros(order, rank))
        self.out = nn.Linear(rank, out or d)

    def factors(
        self, hidden: dict[str, Tensor], present: dict[str, Tensor] | None = None
    ) -> Tensor:
        """Eq. 8: z_j for every order, (N, p, r), float32 or wider.

        With modalities missing the sum is rescaled by Σλ / Σλ(present); otherwise the product would shrink with p.
        """
        parts = []
        for number, name in enumerate(self.modalities):
            weight = self.weight[number if self.gate is not None else 0]
            parts.append(wide(F.linear(hidden[name], weight.to(hidden[name].dtype))))
        z = F.gelu(torch.stack(parts, 1)).unflatten(-1, (self.order, self.rank))  # (N, M, p, r)
        share = torch.ones(self.order, len(self.modalities), dtype=z.dtype, device=z.device)
        if self.gate is not None:
            share = torch.sigmoid(self.gate.to(z.dtype))
        share = share.T.unsqueeze(0)  # (1, M, p)
        if present is not None:
            there = torch.stack([present[name] for name in self.modalities], 1).unsqueeze(-1)
            kept = share * there
            total = kept.sum(1, keepdim=True)
            share = kept * (share.sum(1, keepdim=True) / total.masked_fill(total == 0, 1))
        return (share.unsqueeze(-1) * z).sum(1) + self.constant.to(z.dtype)

    def forward(
        self, hidden: dict[str, Tensor], present: dict[str, Tensor] | None = None
    ) -> Tensor:
        """hidden: modality -> (N, d); present: modality -> (N,) bool (default: all).  Returns (N, out)."""
        z = self.factors(hidden, present)
        return self.out(signed_sqrt(z.prod(1)).to(self.out.weight.dtype))


def wide(x: Tensor) -> Tensor:
    """float32 at least: what autocast made half precision, back to float32."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
