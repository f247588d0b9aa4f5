"""What every model shares: a batch in, an `Output` out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from css_model.batch import Batch, collate
from css_model.config import BaseConfig
from css_model.linear import Call

__all__ = ["EmotionModel", "Output"]


@dataclass(frozen=True)
class Output:
    """What the model computes for N utterances.

    logits: (N, c) of the fused branch, before the softmax of eq. 10.
    unimodal: modality -> (N, c) logits of its head.
    hidden: modality -> h̃ (N, d) of eq. 6, zero where the modality is missing.
    present: modality -> (N,) bool, as the model used it. A modality that the batch does not contain
        is missing in all utterances.
    extra: what else the losses of this model need, by name.
    calls: of the trunk's linear layers, for `theta="sketch"` of PGM; empty without autograd.
    """

    logits: Tensor
    unimodal: dict[str, Tensor]
    hidden: dict[str, Tensor]
    present: dict[str, Tensor]
    extra: dict[str, Tensor] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)

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
            self.extra,
            self.calls,
        )

    def hidden_rms(self) -> float:
        """Return the root mean square of h̃ over present rows. SPF's start assumes about 1."""
        rows = [self.hidden[name].detach()[mask] for name, mask in self.present.items()]
        if not any(len(row) for row in rows):
            return 0.0
        return float(torch.cat(rows).float().square().mean().sqrt())


class EmotionModel(nn.Module):
    """A model that classifies the utterances of dialogues. `config` rebuilds it."""

    def __init__(self, config: BaseConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, batch: Batch) -> Output:
        """Compute the logits of a batch."""
        raise NotImplementedError

    def collate(
        self, dialogues: Iterable[Any], widths: Sequence[tuple[str, int]] | None = None
    ) -> Batch:
        """Pack dialogues as `css_model.collate` does, their speakers numbered for this model."""
        return collate(dialogues, widths, getattr(self.config, "speaker_rows", "appearance"))

    def present(self, batch: Batch) -> dict[str, Tensor]:
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
