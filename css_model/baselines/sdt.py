"""SDT: a Transformer-based model with self-distillation.

Ma et al. 2024, A Transformer-Based Model with Self-Distillation for Multimodal Emotion Recognition
in Conversations, IEEE Transactions on Multimedia 26.

Per modality, one attention layer within the modality and one for every other modality (queries of
the modality, keys and values of the other); each output is gated, the gated outputs are
concatenated and reduced; a softmax over the modalities gates them into one vector. Every modality
also has a classifier of its own, which learns from the labels and from the fused prediction.

Open in the paper, decided here: attention layers are pre-norm with a GELU feed-forward layer as
wide as the model; queries and keys share a norm; no dropout on attention weights. A modality that
is missing gives no keys and has no share in the softmax; a stream without keys contributes zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from css_model.baselines.baseline import Baseline, Target
from css_model.batch import Batch
from css_model.config import CSSConfig, SpeakerConfig
from css_model.embeddings import SpeakerTable
from css_model.encoder import Block, Layout
from css_model.fusion import wide
from css_model.interface import Output
from css_model.objectives import Losses

__all__ = ["SDT", "SDTConfig"]


@dataclass(frozen=True)
class SDTConfig(SpeakerConfig):
    """Dimensions and options of SDT; the defaults are those for IEMOCAP.

    speakers: rows of the speaker table, one more than the largest number of speakers, as SDT keeps
        one row for padding.
    temperature: of the distillation loss.
    detach_teacher: False lets the distillation loss train the fused branch too, as in SDT.
    unimodal_weight, distillation_weight: of the second and third loss; the first has weight 1.

    >>> SDTConfig(widths={"text": 4}, labels=("joy", "anger")).d
    1024
    """

    MODEL: ClassVar[str] = "sdt"

    d: int = 1024
    heads: int = 8
    dropout: float = 0.5
    speakers: int = 3
    temperature: float = 1.0
    detach_teacher: bool = False
    unimodal_weight: float = 1.0
    distillation_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.temperature > 0:
            raise ValueError(f"temperature must be positive, not {self.temperature}")


class SDT(Baseline):
    """SDT; losses: fused cross-entropy, sum of the unimodal ones, sum of the distillations."""

    autocast = True
    config: SDTConfig

    def __init__(self, config: SDTConfig) -> None:
        super().__init__(config)
        d, names = config.d, config.modalities
        self.project = nn.ModuleDict(
            {name: nn.Linear(width, d, bias=False) for name, width in config.widths}
        )
        self.speaker = SpeakerTable(config.speakers, d)
        block = CSSConfig(config.widths, config.labels, d, config.heads, d, dropout=config.dropout)
        pairs = [f"{target}_{source}" for target in names for source in names]
        self.attention = nn.ModuleDict({pair: Block(block) for pair in pairs})
        self.gate = nn.ModuleDict({pair: nn.Linear(d, d, bias=False) for pair in pairs})
        self.reduce = nn.ModuleDict({name: nn.Linear(len(names) * d, d) for name in names})
        self.modality_gate = nn.Linear(d, d, bias=False)
        classes = len(config.labels)
        self.classifier = nn.Linear(d, classes)
        self.heads = nn.ModuleDict(
            {
                name: nn.Sequential(nn.ReLU(), nn.Dropout(config.dropout), nn.Linear(d, classes))
                for name in names
            }
        )

    @property
    def loss_weights(self) -> tuple[float, float, float]:
        return (1.0, self.config.unimodal_weight, self.config.distillation_weight)

    def forward(self, batch: Batch) -> Output:
        """Compute the logits of a batch."""
        present = self.present(batch)
        layout = Layout(batch.lengths, batch.speakers.device)
        extra = self.speaker.with_positions(batch)
        rows = self.projected(batch, present, self.project, extra)
        hidden = {}
        for target in rows:
            streams = [self._stream(target, source, rows, present, layout) for source in rows]
            reduced = self.reduce[target](torch.cat(streams, -1))
            hidden[target] = torch.where(present[target][:, None], reduced, 0)
        logits = self.classifier(self._fuse(hidden, present))
        unimodal = {name: head(hidden[name]) for name, head in self.heads.items()}
        return Output(logits, unimodal, hidden, present)

    def losses(self, output: Output, batch: Batch, class_weights: Tensor | None = None) -> Losses:
        """Compute the three losses of the paper: task, unimodal task, distillation."""
        target = Target(output, batch, class_weights)
        teacher = output.logits.detach() if self.config.detach_teacher else output.logits
        soft = F.log_softmax(wide(teacher) / self.config.temperature, -1)
        task = target.cross_entropy(output.logits)
        unimodal, distilled = torch.zeros_like(task), torch.zeros_like(task)
        for name, logits in output.unimodal.items():
            unimodal = unimodal + target.cross_entropy(logits, output.present[name])
            student = F.log_softmax(wide(logits) / self.config.temperature, -1)
            divergence = F.kl_div(student, soft, reduction="none", log_target=True).sum(-1)
            distilled = distilled + target.mean(divergence, output.present[name])
        return target.losses(task, unimodal, distilled)

    def _stream(
        self,
        target: str,
        source: str,
        rows: dict[str, Tensor],
        present: dict[str, Tensor],
        layout: Layout,
    ) -> Tensor:
        """Return σ(W h) ⊙ h of the layer in which `target` attends to `source`, (N, d)."""
        pair = f"{target}_{source}"
        context = None if source == target else rows[source]
        h = self.attention[pair](rows[target], context, present[source], layout)
        h = torch.where(layout.any(present[source])[:, None], h, 0)
        return torch.sigmoid(self.gate[pair](h)) * h

    def _fuse(self, hidden: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        """Return Σ_m softmax_m(W h^(m)) ⊙ h^(m) over the present modalities, (N, d)."""
        rows = torch.stack(list(hidden.values()))
        mask = torch.stack([present[name] for name in hidden]).unsqueeze(-1)
        # finite, so that an utterance without any modality gives zero and not NaN
        scores = wide(self.modality_gate(rows)).masked_fill(~mask, -1e30)
        return (scores.softmax(0) * rows).sum(0)
