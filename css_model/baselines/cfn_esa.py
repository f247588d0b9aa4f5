"""CFN-ESA: text reads voice and face, they read the text, and emotion shifts are learned too.

Li et al. 2024, CFN-ESA: A Cross-Modal Fusion Network With Emotion-Shift Awareness for Dialogue
Emotion Recognition, IEEE Transactions on Affective Computing 15(4).

A recurrent encoder that all modalities share (RUME) gives each its context: a bidirectional GRU and
a feed-forward layer, both residual. In the cross-modal layers (ACME) the text attends to every
other modality, and each of them to the text. All are concatenated and classified. A second task is
whether the emotion differs between two utterances of the dialogue (LESM).

The counts are within 2 % of the figures that are known, 67.1 M and 25.2 M.

The paper's full text was not at hand. Decided here: both directions of the GRU are as wide as the
model and are mapped back to it; feed-forward layers are four times as wide; norms follow the sums;
all modalities of a layer read its inputs; a speaker embedding is added to every modality; the shift
is read by a hidden layer from all pairs of labelled utterances. Without text, the first modality
takes its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from css_model.baselines.baseline import Baseline, Target
from css_model.baselines.sequences import run_rnn
from css_model.baselines.shift import ShiftHead
from css_model.batch import Batch
from css_model.config import SpeakerConfig
from css_model.embeddings import SpeakerTable
from css_model.encoder import Attention, Layout
from css_model.interface import Output
from css_model.objectives import Losses

__all__ = ["CFNESA", "CFNESAConfig"]


@dataclass(frozen=True)
class CFNESAConfig(SpeakerConfig):
    """Dimensions and options of CFN-ESA; the defaults are those for IEMOCAP.

    recurrent_layers, layers: of RUME and ACME. shift_weight: λ of the second loss.

    >>> CFNESAConfig(widths={"text": 4}, labels=("joy", "anger")).layers
    5
    """

    MODEL: ClassVar[str] = "cfn-esa"

    d: int = 512
    heads: int = 8
    recurrent_layers: int = 2
    layers: int = 5
    shift_hidden: int = 128
    dropout: float = 0.2
    speakers: int = 2
    shift_weight: float = 1.0


class FeedForward(nn.Module):
    """LN(x + W ReLU(V x)) with 4 d units."""

    def __init__(self, d: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(d, 4 * d), nn.ReLU(), nn.Dropout(dropout), nn.Linear(4 * d, d)
        )
        self.norm, self.dropout = nn.LayerNorm(d), nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.dropout(self.layers(x)))


class RecurrentLayer(nn.Module):
    """A layer of RUME: LN(x + W BiGRU(x)), then the feed-forward layer."""

    def __init__(self, d: int, dropout: float) -> None:
        super().__init__()
        self.gru = nn.GRU(d, d, batch_first=True, bidirectional=True)
        self.out, self.norm = nn.Linear(2 * d, d), nn.LayerNorm(d)
        self.feed, self.dropout = FeedForward(d, dropout), nn.Dropout(dropout)

    def forward(self, x: Tensor, lengths: list[int]) -> Tensor:
        return self.feed(self.norm(x + self.dropout(self.out(run_rnn(self.gru, x, lengths)))))


class CrossModalLayer(nn.Module):
    """A layer of ACME: the centre reads every other modality, and each of them the centre."""

    def __init__(self, config: CFNESAConfig, centre: str) -> None:
        super().__init__()
        d, names = config.d, config.modalities
        self.centre = centre
        others = [name for name in names if name != centre]
        pairs = [f"{centre}_{name}" for name in others] + [f"{name}_{centre}" for name in others]
        self.attention = nn.ModuleDict({pair: Attention(d, config.heads) for pair in pairs})
        self.norm = nn.ModuleDict({name: nn.LayerNorm(d) for name in names})
        self.feed = nn.ModuleDict({name: FeedForward(d, config.dropout) for name in names})
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, rows: dict[str, Tensor], present: dict[str, Tensor], layout: Layout
    ) -> dict[str, Tensor]:
        """Map modality -> (N, d) to the same. A source without keys in a dialogue gives zero."""
        result = {}
        for target, x in rows.items():
            total = x
            for source in rows:
                if source != target and self.centre in (source, target):
                    attention = self.attention[f"{target}_{source}"]
                    read = attention(x, rows[source], present[source], layout)
                    readable = layout.any(present[source])[:, None]
                    total = total + torch.where(readable, self.dropout(read), 0)
            h = self.feed[target](self.norm[target](total))
            result[target] = torch.where(present[target][:, None], h, 0)
        return result


class CFNESA(Baseline):
    """CFN-ESA; losses: emotion, shift of the emotion."""

    config: CFNESAConfig

    def __init__(self, config: CFNESAConfig) -> None:
        super().__init__(config)
        d, names = config.d, config.modalities
        centre = "text" if "text" in names else names[0]
        self.project = nn.ModuleDict({name: nn.Linear(width, d) for name, width in config.widths})
        self.speaker = SpeakerTable(config.speakers, d)
        self.recurrent = nn.ModuleList(
            RecurrentLayer(d, config.dropout) for _ in range(config.recurrent_layers)
        )
        self.cross = nn.ModuleList(CrossModalLayer(config, centre) for _ in range(config.layers))
        self.combine = nn.Linear(len(names) * d, d)
        self.classifier = nn.Linear(d, len(config.labels))
        self.shift = ShiftHead(d, config.shift_hidden)
        self.dropout = nn.Dropout(config.dropout)

    @property
    def loss_weights(self) -> tuple[float, float, float]:
        return (1.0, self.config.shift_weight, 0.0)

    def forward(self, batch: Batch) -> Output:
        """Compute the logits of a batch."""
        present = self.present(batch)
        layout = Layout(batch.lengths, batch.speakers.device)
        rows = self.projected(batch, present, self.project, self.speaker.of(batch))
        for layer in self.recurrent:
            rows = {
                name: torch.where(present[name][:, None], layer(h, batch.lengths), 0)
                for name, h in rows.items()
            }
        for layer in self.cross:
            rows = layer(rows, present, layout)
        hidden = self.dropout(F.relu(self.combine(torch.cat(list(rows.values()), -1))))
        return Output(self.classifier(hidden), {}, {}, present, {"hidden": hidden})

    def losses(self, output: Output, batch: Batch, class_weights: Tensor | None = None) -> Losses:
        """Compute the losses of the emotion and its shift; class weights: of the first."""
        target = Target(output, batch, class_weights)
        task = target.cross_entropy(output.logits)
        shift = self.shift.loss(output.extra["hidden"], target.labels, target.mask, batch.lengths)
        return target.losses(task, shift, torch.zeros_like(task))
