"""Ada2I: adaptive weights of features and of modalities, and balanced gradients.

Nguyen et al. 2024, Ada2I: Enhancing Modality Balance for Multimodal Conversational Emotion
Recognition, ACM Multimedia.

A Transformer encodes each modality. Adaptive feature weighting (AFW) gates the features of a
modality by a tensor ring over all modalities. Adaptive modality weighting (AMW) gives every
utterance a weight per modality; classifiers of one modality compare directions, as features and
class weights are normalised. The loss is the sum of three cross-entropies: of the weighted sum of
the modalities, of all gated features, and of the weighted votes of the modalities. In every step,
the gradient of the encoder of a modality that is ahead is scaled down (`css_model.balance`).

The paper's full text was not at hand. Decided here: feature k of modality m is gated by
σ(trace(G^m(h^m) Π_n G^n(h^n) O_k^m)), where G maps a vector to an R x R matrix (the identity for a
missing modality) and n are the other modalities in their order, and the gated vector is added to
the ungated one; modality weights are a softmax of vᵀ tanh(U h̃ + b); logits of directions are
scaled by 10; sinusoidal positions and a speaker embedding are added to every modality; there is no
noise on the gradients.

Width 512 with 5 (IEMOCAP) and 2 layers (MELD) and rank 35 were chosen by the figures for the
parameters, 54.5 M and 24.4 M, and come within 2 % of both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from css_model.balance import BalancedGradients, Modulator, by_modality
from css_model.baselines.baseline import Baseline, Target
from css_model.batch import Batch
from css_model.config import CSSConfig, SpeakerConfig
from css_model.embeddings import SpeakerTable
from css_model.encoder import Layout, Stack
from css_model.fusion import wide
from css_model.interface import Output
from css_model.objectives import Losses

__all__ = ["Ada2I", "Ada2IConfig", "TensorRing"]

SCALE = 10.0  # of the cosines: with 1, a softmax over classes could never be certain


@dataclass(frozen=True)
class Ada2IConfig(SpeakerConfig):
    """Dimensions and options of Ada2I; the defaults are those for IEMOCAP.

    layers: of the encoder of each modality. rank: R of the tensor ring.
    feature_weight, modality_weight: of the second and third loss; the first has weight 1.
    balance: α of the gradient scaling; 0: none.

    >>> Ada2IConfig(widths={"text": 4}, labels=("joy", "anger")).rank
    35
    """

    MODEL: ClassVar[str] = "ada2i"

    d: int = 512
    heads: int = 8
    layers: int = 5
    rank: int = 35
    dropout: float = 0.3
    speakers: int = 2
    feature_weight: float = 1.0
    modality_weight: float = 1.0
    balance: float = 0.1


class TensorRing(nn.Module):
    """Gates of the features of every modality, from the product of all modalities."""

    def __init__(self, names: tuple[str, ...], d: int, rank: int) -> None:
        super().__init__()
        self.rank = rank
        self.core = nn.ModuleDict({name: nn.Linear(d, rank * rank) for name in names})
        self.gate = nn.ModuleDict({name: nn.Linear(rank * rank, d) for name in names})

    def forward(self, hidden: dict[str, Tensor], present: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return modality -> h + σ(gate) ⊙ h, (N, d), zero where missing."""
        one = torch.eye(self.rank, device=next(iter(hidden.values())).device)
        cores = {}
        for name, h in hidden.items():
            core = self.core[name](h).unflatten(-1, (self.rank, self.rank))
            cores[name] = torch.where(present[name][:, None, None], core, one.to(core))
        result = {}
        for name, h in hidden.items():
            product = cores[name]
            for other, core in cores.items():
                if other != name:
                    product = product @ core
            # trace(P O_k) of all k is a linear map of P
            result[name] = h + torch.sigmoid(self.gate[name](product.flatten(1))) * h
        return result


class Ada2I(Baseline):
    """Ada2I; losses: fused modalities, gated features, votes of the modalities."""

    config: Ada2IConfig

    def __init__(self, config: Ada2IConfig) -> None:
        super().__init__(config)
        d, names, classes = config.d, config.modalities, len(config.labels)
        self.project = nn.ModuleDict({name: nn.Linear(width, d) for name, width in config.widths})
        self.speaker = SpeakerTable(config.speakers, d)
        block = CSSConfig(
            config.widths, config.labels, d, config.heads, 4 * d, config.layers, config.dropout
        )
        self.encoder = nn.ModuleDict({name: Stack(block) for name in names})
        self.features_ring = TensorRing(names, d, config.rank)
        self.score = nn.Sequential(nn.Linear(d, d), nn.Tanh(), nn.Linear(d, 1, bias=False))
        self.vote = nn.ParameterDict(
            {name: nn.Parameter(torch.randn(classes, d)) for name in names}
        )  # only their directions matter
        self.combine = nn.Linear(len(names) * d, d)
        self.feature_classifier = nn.Linear(d, classes)
        self.classifier = nn.Linear(d, classes)
        self.dropout = nn.Dropout(config.dropout)

    @property
    def loss_weights(self) -> tuple[float, float, float]:
        return (1.0, self.config.feature_weight, self.config.modality_weight)

    def modulator(self) -> Modulator:
        groups = by_modality([self.project, self.encoder])
        return BalancedGradients(super().modulator(), groups, self.config.balance)

    def forward(self, batch: Batch) -> Output:
        """Compute the logits of a batch."""
        present = self.present(batch)
        layout = Layout(batch.lengths, batch.speakers.device)
        extra = self.speaker.with_positions(batch)
        hidden = {}
        for name, h in self.projected(batch, present, self.project, extra).items():
            h = self.encoder[name](h, None, present[name], layout)
            hidden[name] = torch.where(present[name][:, None], h, 0)
        gated = {name: self.dropout(h) for name, h in self.features_ring(hidden, present).items()}
        weight = self.modality_weights(gated, present)
        fused = (weight[..., None] * torch.stack(list(gated.values()), 1)).sum(1)
        votes = {
            name: SCALE * F.linear(F.normalize(h, dim=-1), F.normalize(self.vote[name], dim=-1))
            for name, h in gated.items()
        }
        joined = self.dropout(F.relu(self.combine(torch.cat(list(gated.values()), -1))))
        extra_logits = {
            "features": self.feature_classifier(joined),
            "votes": (weight[..., None] * torch.stack(list(votes.values()), 1)).sum(1),
        }
        return Output(self.classifier(fused), votes, hidden, present, extra_logits)

    def modality_weights(self, gated: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        """Return the share of every modality, (N, M); missing ones have none."""
        scores = torch.cat([wide(self.score(h)) for h in gated.values()], -1)
        mask = torch.stack([present[name] for name in gated], -1)
        # finite, so that an utterance without any modality gives zero and not NaN
        return torch.where(mask, scores.masked_fill(~mask, -1e30).softmax(-1), 0)

    def losses(self, output: Output, batch: Batch, class_weights: Tensor | None = None) -> Losses:
        """Compute the three cross-entropies."""
        target = Target(output, batch, class_weights)
        logits = (output.logits, output.extra["features"], output.extra["votes"])
        return target.losses(*(target.cross_entropy(rows) for rows in logits))
