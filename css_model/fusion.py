"""Eqs. 7-10: Synergistic Polynomial Fusion (SPF)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["SynergisticPolynomialFusion", "signed_sqrt", "wide"]

EPS = 1e-4  # of eq. 9, whose slope at 0 is infinite as printed; with it the slope is 100


def signed_sqrt(z: Tensor, eps: float = EPS) -> Tensor:
    """Eq. 9 as z / sqrt(|z| + eps): odd, monotone, with a finite slope at 0.

    >>> signed_sqrt(torch.tensor([-4.0, 0.0, 4.0])).round(decimals=3)
    tensor([-2.,  0.,  2.])
    """
    return z / (z.abs() + eps).sqrt()


class SynergisticPolynomialFusion(nn.Module):
    """Fuse modalities by a low-rank polynomial (eqs. 7-10).

    z = Π_j (Σ_m λ_j^(m) GELU(W_j^(m) h^(m)) + w_j), then the signed square root (eq. 9) and the
    output projection of eq. 10. This is a CP-factorised polynomial of order p over the modalities
    and a constant; expanded, it has (modalities + 1)^p terms.

    modalities: their names. d: width of the inputs. out: width of the output; default: d.
    order, rank: p and r. modality_specific: False means one W_j for all modalities and no static
    gate λ ("without MSP").

    The product is computed in float32 or wider, also under autocast.

    >>> fusion = SynergisticPolynomialFusion(("text", "audio"), d=8, order=3, rank=4)
    >>> hidden = {"text": torch.randn(5, 8), "audio": torch.randn(5, 8)}
    >>> fusion(hidden).shape
    torch.Size([5, 8])
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
        # For h of root mean square about 1. With a smaller std, such as the usual 1 / sqrt(d), the
        # product of p factors vanishes.
        weight = torch.randn(count if modality_specific else 1, order * rank, d)
        self.weight = nn.Parameter(weight * (4 / math.sqrt(count * d)))
        # λ = sigmoid(gate), at first 1/2
        self.gate = nn.Parameter(torch.zeros(order, count)) if modality_specific else None
        # w_j starts at 0: from 1, the product remains almost linear
        self.constant = nn.Parameter(torch.zeros(order, rank))
        self.out = nn.Linear(rank, out or d)

    def factors(
        self, hidden: dict[str, Tensor], present: dict[str, Tensor] | None = None
    ) -> Tensor:
        """Compute z_j of every order (eq. 8): (N, p, r), float32 or wider.

        Arguments as for `forward`. If modalities are missing, the sum is rescaled by
        Σλ / Σλ(present); otherwise the product would shrink with the order.
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
            mask = torch.stack([present[name] for name in self.modalities], 1).unsqueeze(-1)
            masked = share * mask
            total = masked.sum(1, keepdim=True)
            share = masked * (share.sum(1, keepdim=True) / total.masked_fill(total == 0, 1))
        return (share.unsqueeze(-1) * z).sum(1) + self.constant.to(z.dtype)

    def forward(
        self, hidden: dict[str, Tensor], present: dict[str, Tensor] | None = None
    ) -> Tensor:
        """Return the fused vectors (N, out).

        hidden: modality -> (N, d). present: modality -> (N,) bool; default: all are present.
        """
        z = self.factors(hidden, present)
        return self.out(signed_sqrt(z.prod(1)).to(self.out.weight.dtype))


def wide(x: Tensor) -> Tensor:
    """Convert half precision, such as autocast returns, to float32."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
