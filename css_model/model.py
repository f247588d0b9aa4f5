"""CSS: encoder, fusion, classifier, and one head per modality (eqs. 1-10)."""

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
    """logits (N, c) of the fused branch; unimodal: modality -> (N, c); hidden: modality -> h̃ (N, d), zero if missing.

    present: modality -> (N,) bool, as the model used it (a modality absent from the batch is missing throughout).
    """

    logits: Tensor
    unimodal: dict[str, Tensor]
    hidden: dict[str, Tensor]
    present: dict[str, Tensor]

    def shifted(self, odds: Tensor) -> Output:
        """Logits plus (N, c): what the model says of data whose labels have other odds than those it predicts for."""
        return Output(
            self.logits + odds,
            {name: rows + odds for name, rows in self.unimodal.items()},
            self.hidden,
            self.present,
        )

    def hidden_rms(self) -> float:
        """Root mean square of h̃ over present utterances: SPF's start is made for about 1."""
        rows = [self.hidden[name].detach()[there] for name, there in self.present.items()]
        return (
            float(torch.cat(rows).float().square().mean().sqrt())
            if any(len(row) for row in rows)
            else 0.0
        )


class CSS(nn.Module):
    """Cross-Space Synergy.  `encoder` is PGM's shared trunk θ; `fusion`, `classifier` and `heads` are task-specific."""

    def __init__(self, config: CSSConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.fusion = make_fusion(config)
        self.classifier = nn.Linear(config.d, len(config.labels))
        self.heads = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.ReLU(), nn.Dropout(config.dropout), nn.Linear(config.d, len(config.labels))
                )
                for name in config.modalities
            }
        )

    def forward(self, batch: Batch) -> Output:
        """Raises ValueError for features of another width than the model's."""
        present = {}
        for name, width in self.config.widths:
            rows = batch.features.get(name)
            if rows is None:
                present[name] = torch.zeros(
                    len(batch), dtype=torch.bool, device=batch.speakers.device
                )
            elif rows.shape != (len(batch), width):
                raise ValueError(
                    f"{name} features have shape {tuple(rows.shape)}; this model takes "
                    f"{(len(batch), width)}: use the extractor (profile) that the model was trained on"
                )
            else:
                present[name] = batch.present[name]
        hidden = self.encoder(batch, present)
        logits = self.classifier(self.fusion(hidden, present))
        return Output(
            logits, {name: head(hidden[name]) for name, head in self.heads.items()}, hidden, present
        )

    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())
