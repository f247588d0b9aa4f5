"""The CSS model: encoder, fusion, classifier, and one head per modality (eqs. 1-10)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from css_model.batch import Batch
from css_model.comparators import make_fusion
from css_model.config import CSSConfig
from css_model.encoder import Encoder

__all__ = ["CSS", "Output"]


@dataclass(frozen=True)
class Output:
    """What the model computes for N utterances.

    logits: (N, c) of the fused branch, before the softmax of eq. 10.
    unimodal: modality -> (N, c) logits of its head.
    hidden: modality -> h̃ (N, d) of eq. 6, zero where the modality is missing.
    present: modality -> (N,) bool, as the model used it. A modality that the batch does not contain
        is missing in all utterances.
    """

    logits: Tensor
    unimodal: dict[str, Tensor]
    hidden: dict[str, Tensor]
    present: dict[str, Tensor]

    def shifted(self, odds: Tensor) -> Output:
        """Return the output with `odds` (N, c) added to all logits.

        With the log ratio of two label distributions, predictions for one become those for the
        other.
        """
        return Output(
            self.logits + odds,
            {name: rows + odds for name, rows in self.unimodal.items()},
            self.hidden,
            self.present,
        )

    def hidden_rms(self) -> float:
        """Return the root mean square of h̃ over present rows. SPF's start assumes about 1."""
        rows = [self.hidden[name].detach()[mask] for name, mask in self.present.items()]
        if not any(len(row) for row in rows):
            return 0.0
        return float(torch.cat(rows).float().square().mean().sqrt())


class CSS(nn.Module):
    """Cross-Space Synergy (eqs. 1-10).

    `encoder` is the shared trunk θ of PGM; `fusion`, `classifier` and `heads` are task-specific.

    >>> config = CSSConfig(widths={"text": 4}, labels=("joy", "anger"), d=8, heads=2, hidden=8)
    >>> model = CSS(config).eval()
    >>> batch = Batch(
    ...     features={"text": torch.randn(3, 4)},
    ...     present={"text": torch.tensor([True, True, False])},
    ...     speakers=torch.tensor([0, 1, 0]),
    ...     lengths=[3],
    ...     labels=torch.tensor([0, 1, -1]),
    ... )
    >>> model(batch).logits.shape
    torch.Size([3, 2])
    """

    def __init__(self, config: CSSConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.fusion = make_fusion(config)
        self.classifier = nn.Linear(config.d, len(config.labels))
        self.heads = nn.ModuleDict({name: _head(config) for name in config.modalities})

    def forward(self, batch: Batch) -> Output:
        """Compute the logits of a batch.

        Raises ValueError for features of another width than the model's.
        """
        present = self._present(batch)
        hidden = self.encoder(batch, present)
        logits = self.classifier(self.fusion(hidden, present))
        unimodal = {name: head(hidden[name]) for name, head in self.heads.items()}
        return Output(logits, unimodal, hidden, present)

    def _present(self, batch: Batch) -> dict[str, Tensor]:
        """Check the widths; return modality -> (N,) bool for all modalities of the model."""
        present = {}
        for name, width in self.config.widths:
            rows = batch.features.get(name)
            if rows is None:
                present[name] = torch.zeros(
                    len(batch), dtype=torch.bool, device=batch.speakers.device
                )
            elif rows.shape != (len(batch), width):
                raise ValueError(
                    f"{name} features have shape {tuple(rows.shape)}, but this model expects "
                    f"{(len(batch), width)}; use the extractor (profile) that the model was "
                    "trained on"
                )
            else:
                present[name] = batch.present[name]
        return present

    def parameter_count(self) -> int:
        """Return the number of parameters."""
        return sum(parameter.numel() for parameter in self.parameters())


def _head(config: CSSConfig) -> nn.Sequential:
    """Return the classifier of one modality, a map of h̃ (N, d) to logits (N, c)."""
    return nn.Sequential(
        nn.ReLU(), nn.Dropout(config.dropout), nn.Linear(config.d, len(config.labels))
    )
