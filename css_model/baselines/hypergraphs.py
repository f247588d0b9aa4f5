"""Hypergraphs over the utterances and modalities of a dialogue, as dense incidence matrices."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from css_model.baselines.graphs import ModalityNodes

__all__ = ["HypergraphConvolution", "ModalityHypergraph"]


class ModalityHypergraph(ModalityNodes):
    """One hyperedge per modality, with all its utterances, and one per utterance.

    incidence: (B, M T, M + T) float, the hyperedges of the modalities first. Missing features are
    in no hyperedge.
    """

    def __init__(self, present: dict[str, Tensor], lengths: list[int]) -> None:
        super().__init__(present, lengths)
        count, steps = len(self.names), self.mask.shape[1]
        columns = [F.one_hot(self.modality, count), F.one_hot(self.time, steps)]
        self.incidence = torch.cat(columns, 1) * self.known.float()


class HypergraphConvolution(nn.Module):
    """ReLU(D^-1 H W B^-1 (H ⊙ γ)ᵀ V Θ): nodes to hyperedges by γ, and back by ω.

    W is the diagonal of ω(e), D(v) = Σ_e ω(e) H(v, e) and B(e) = Σ_v γ_e(v) H(v, e). ω is learned
    for the hyperedge of each modality and for those of utterances; γ for each modality in either
    kind. All start at 1 and remain positive.
    """

    def __init__(self, d: int, modalities: int) -> None:
        super().__init__()
        self.linear = nn.Linear(d, d)
        self.log_omega = nn.Parameter(torch.zeros(modalities + 1))
        self.log_gamma = nn.Parameter(torch.zeros(modalities, 2))

    def forward(self, nodes: Tensor, incidence: Tensor) -> Tensor:
        """Map nodes (B, M T, d). incidence: H (B, M T, M + T), from 0 to 1."""
        count = len(self.log_gamma)
        steps = incidence.shape[2] - count
        kinds = torch.tensor([count, steps], device=nodes.device)
        gamma = self.log_gamma.exp().repeat_interleave(steps, 0).repeat_interleave(kinds, 1)
        omega = self.log_omega.exp()
        omega = torch.cat([omega[:-1], omega[-1:].expand(steps)])
        gathered = (incidence * gamma).transpose(1, 2)
        edges = gathered @ self.linear(nodes) / _positive(gathered.sum(2, True))
        spread = incidence * omega
        return F.relu(spread @ edges / _positive(spread.sum(2, True)))


def _positive(total: Tensor) -> Tensor:
    return total.clamp(min=1e-6)  # of a hyperedge or node without the other, whose sum is 0
