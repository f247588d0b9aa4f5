"""MulT: a Transformer across modalities.

Tsai et al. 2019, Multimodal Transformer for Unaligned Multimodal Language Sequences, ACL.

For every ordered pair of modalities, a stack of cross-modal attention blocks lets one attend to the
other. What a modality has gathered from the others is concatenated and passes a stack of
self-attention blocks; all modalities are concatenated and classified through a residual layer.

MulT reads words and frames; here, as in the literature on conversations, the utterances of a
dialogue are the sequence, and every one is classified. It reads no speakers. The temporal
convolution has kernel 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from css_model.baselines.baseline import Baseline
from css_model.batch import Batch
from css_model.config import BaseConfig, CSSConfig
from css_model.embeddings import positions
from css_model.encoder import Layout, Stack
from css_model.interface import Output

__all__ = ["MulT", "MulTConfig"]


@dataclass(frozen=True)
class MulTConfig(BaseConfig):
    """Dimensions and options of MulT. layers: of each stack.

    >>> MulTConfig(widths={"text": 4}, labels=("joy", "anger")).d
    40
    """

    MODEL: ClassVar[str] = "mult"

    d: int = 40
    heads: int = 10
    layers: int = 4
    dropout: float = 0.2


class MulT(Baseline):
    """MulT; its only loss is the cross-entropy."""

    config: MulTConfig

    def __init__(self, config: MulTConfig) -> None:
        super().__init__(config)
        d, names = config.d, config.modalities
        wide = d * max(1, len(names) - 1)
        self.project = nn.ModuleDict(
            {name: nn.Linear(width, d, bias=False) for name, width in config.widths}
        )
        pairs = [f"{a}_{b}" for a in names for b in names if a != b]
        self.cross = nn.ModuleDict({pair: Stack(_blocks(config, d)) for pair in pairs})
        self.memory = nn.ModuleDict({name: Stack(_blocks(config, wide)) for name in names})
        total = wide * len(names)
        self.first, self.second = nn.Linear(total, total), nn.Linear(total, total)
        self.classifier = nn.Linear(total, len(config.labels))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, batch: Batch) -> Output:
        """Compute the logits of a batch."""
        present = self.present(batch)
        layout = Layout(batch.lengths, batch.speakers.device)
        where = positions(batch.lengths, self.config.d, batch.speakers.device)
        rows = self.projected(batch, present, self.project, where)
        gathered = []
        for target, x in rows.items():
            streams = [
                torch.where(
                    layout.any(present[source])[:, None],
                    self.cross[f"{target}_{source}"](x, rows[source], present[source], layout),
                    0,
                )
                for source in rows
                if source != target
            ] or [x]
            h = self.memory[target](torch.cat(streams, -1), None, present[target], layout)
            gathered.append(torch.where(present[target][:, None], h, 0))
        joined = torch.cat(gathered, -1)
        joined = joined + self.second(self.dropout(F.relu(self.first(joined))))
        return Output(self.classifier(joined), {}, {}, present)


def _blocks(config: MulTConfig, d: int) -> CSSConfig:
    return CSSConfig(
        config.widths, config.labels, d, config.heads, 4 * d, config.layers, config.dropout
    )
