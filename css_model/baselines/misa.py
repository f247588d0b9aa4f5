"""MISA: modality-invariant and -specific representations.

Hazarika et al. 2020, MISA: Modality-Invariant and -Specific Representations for Multimodal
Sentiment Analysis, ACM Multimedia.

Every modality is projected twice: by an encoder that all share (invariant) and by one of its own
(specific). The losses pull the invariant ones together (central moment discrepancy), keep invariant
and specific ones orthogonal, and reconstruct the projected features from both. A Transformer over
the vectors of all modalities and a classifier follow.

MISA reads one utterance at a time, so it knows no context and no speakers. Its two auxiliary losses
on representations share the second term. A modality that is missing is no token of the Transformer.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from css_model.baselines.baseline import Baseline, Target
from css_model.batch import Batch
from css_model.config import BaseConfig
from css_model.interface import Output
from css_model.objectives import Losses

__all__ = ["MISA", "MISAConfig", "central_moment_discrepancy"]

MOMENTS = 5


@dataclass(frozen=True)
class MISAConfig(BaseConfig):
    """Dimensions and options of MISA; the weights are those of its losses.

    >>> MISAConfig(widths={"text": 4}, labels=("joy", "anger")).d
    128
    """

    MODEL: ClassVar[str] = "misa"

    d: int = 128
    heads: int = 2
    dropout: float = 0.5
    similarity_weight: float = 1.0
    difference_weight: float = 0.3
    reconstruction_weight: float = 1.0


def central_moment_discrepancy(a: Tensor, b: Tensor) -> Tensor:
    """Return the distance of the means and of the central moments 2 to 5 (Zellinger et al. 2017).

    a, b: (n, d), n at least 1.
    """
    means = a.mean(0), b.mean(0)
    centred = a - means[0], b - means[1]
    total = _length(means[0] - means[1])
    for k in range(2, MOMENTS + 1):
        total = total + _length(centred[0].pow(k).mean(0) - centred[1].pow(k).mean(0))
    return total


def _length(x: Tensor) -> Tensor:
    return (x.square().sum() + 1e-12).sqrt()  # the slope of the norm is NaN at 0


class MISA(Baseline):
    """MISA; losses: cross-entropy, similarity and difference, reconstruction."""

    config: MISAConfig

    def __init__(self, config: MISAConfig) -> None:
        super().__init__(config)
        d, names = config.d, config.modalities
        self.project = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(width, d), nn.ReLU(), nn.LayerNorm(d))
                for name, width in config.widths
            }
        )
        self.specific = nn.ModuleDict({name: _encoder(d) for name in names})
        self.invariant = _encoder(d)
        self.reconstruct = nn.ModuleDict({name: nn.Linear(d, d) for name in names})
        self.fusion = nn.TransformerEncoderLayer(
            d, config.heads, 4 * d, config.dropout, batch_first=True
        )
        self.classifier = nn.Sequential(
            nn.Linear(2 * len(names) * d, 3 * d),
            nn.Dropout(config.dropout),
            nn.ReLU(),
            nn.Linear(3 * d, len(config.labels)),
        )

    @property
    def loss_weights(self) -> tuple[float, float, float]:
        return (1.0, 1.0, self.config.reconstruction_weight)

    def forward(self, batch: Batch) -> Output:
        """Compute the logits of a batch."""
        present, tokens, mask = self.present(batch), [], []
        extra: dict[str, Tensor] = {}
        for name, x in self.features(batch, present).items():
            h = self.project[name](x)
            specific, invariant = self.specific[name](h), self.invariant(h)
            extra |= {f"projected_{name}": h, f"specific_{name}": specific}
            extra[f"invariant_{name}"] = invariant
            tokens += [specific, invariant]
            mask += [present[name]] * 2
        there = torch.stack(mask, 1)
        # an utterance without features attends to all tokens, to avoid NaN, and is zeroed below
        hidden = ~(there | ~there.any(1, keepdim=True))
        fused = self.fusion(torch.stack(tokens, 1), src_key_padding_mask=hidden)
        fused = torch.where(there.unsqueeze(-1), fused, 0)
        return Output(self.classifier(fused.flatten(1)), {}, {}, present, extra)

    def losses(self, output: Output, batch: Batch, class_weights: Tensor | None = None) -> Losses:
        """Compute the losses over the utterances that have the modalities in question."""
        target = Target(output, batch, class_weights)
        task = target.cross_entropy(output.logits)
        zero = torch.zeros_like(task)
        similarity, difference, reconstruction = [zero], [zero], [zero]
        for a, b in combinations(self.config.modalities, 2):
            both = target.mask & output.present[a] & output.present[b]
            if both.any():
                first, second = (output.extra[f"invariant_{name}"][both] for name in (a, b))
                similarity.append(central_moment_discrepancy(first, second))
                first, second = (output.extra[f"specific_{name}"][both] for name in (a, b))
                difference.append(_overlap(first, second))
        for name in self.config.modalities:
            rows = target.mask & output.present[name]
            if rows.any():
                parts = [output.extra[f"{part}_{name}"][rows] for part in ("specific", "invariant")]
                difference.append(_overlap(*parts))
                rebuilt = self.reconstruct[name](parts[0] + parts[1])
                reconstruction.append(F.mse_loss(rebuilt, output.extra[f"projected_{name}"][rows]))
        pairs = max(1, len(similarity) - 1)
        second_term = self.config.similarity_weight * torch.stack(similarity).sum() / pairs
        second_term = second_term + self.config.difference_weight * torch.stack(difference).sum()
        third = torch.stack(reconstruction).sum() / len(self.config.modalities)
        return target.losses(task, second_term, third)


def _encoder(d: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(d, d), nn.Sigmoid())


def _overlap(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean squared entry of aᵀ b, columns centred and rows of length 1."""
    a, b = (F.normalize(x - x.mean(0), dim=1) for x in (a, b))
    return (a.T @ b).square().mean()
