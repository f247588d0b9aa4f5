"""DialogueGCN: a relational graph of who speaks to whom, in which direction of time.

Ghosal et al. 2019, DialogueGCN: A Graph Convolutional Neural Network for Emotion Recognition in
Conversation, EMNLP.

A bidirectional GRU gives each utterance its context. Utterances within a window are joined by edges
whose weights are a softmax of bilinear scores and whose relation is the pair of speakers and the
order in time. A relational graph convolution and a second one follow; context and graph output are
concatenated, attended over the dialogue, and classified.

Open in the paper, decided here: the matrices of the relations are combinations of a few (basis
decomposition, Schlichtkrull et al. 2018), since MELD has 162 relations. The features of the
modalities are concatenated; speakers beyond `speakers` share the numbers of the first ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from css_model.baselines.baseline import Baseline
from css_model.baselines.sequences import concatenate, pad, run_rnn
from css_model.batch import Batch
from css_model.config import SpeakerConfig
from css_model.interface import Output

__all__ = ["DialogueGCN", "DialogueGCNConfig"]


@dataclass(frozen=True)
class DialogueGCNConfig(SpeakerConfig):
    """Dimensions and options of DialogueGCN.

    d: width of the context, even. hidden: of the graph. window: utterances before and after.

    >>> DialogueGCNConfig(widths={"text": 4}, labels=("joy", "anger")).window
    10
    """

    MODEL: ClassVar[str] = "dialoguegcn"

    d: int = 200
    hidden: int = 100
    window: int = 10
    bases: int = 30
    dropout: float = 0.5
    speakers: int = 2


class RelationalConvolution(nn.Module):
    """h_i = Σ_r Σ_j (α_ij / c_ir) W_r g_j + α_ii W_0 g_i (eq. 2 without its ReLU)."""

    def __init__(self, d: int, hidden: int, relations: int, bases: int) -> None:
        super().__init__()
        self.basis = nn.Parameter(torch.empty(bases, d, hidden))
        self.share = nn.Parameter(torch.empty(relations, bases))
        self.itself = nn.Linear(d, hidden, bias=False)
        nn.init.xavier_normal_(self.basis)
        nn.init.xavier_normal_(self.share)

    def forward(self, nodes: Tensor, weight: Tensor, relation: Tensor, edges: Tensor) -> Tensor:
        """Map nodes (B, T, d) to (B, T, hidden).

        weight: α (B, T, T). relation: (B, T, T) int64. edges: (B, T, T) bool.
        """
        same = (relation.unsqueeze(-1) == relation.unsqueeze(-2)) & edges.unsqueeze(-2)
        count = same.sum(-1).clamp(min=1)  # c_ir of the relation of (i, j)
        coefficient = torch.where(edges, weight / count, 0).unsqueeze(-1) * self.share[relation]
        message = torch.einsum("bijk,bjd->bikd", coefficient, nodes)
        own = torch.diagonal(weight, dim1=1, dim2=2).unsqueeze(-1) * self.itself(nodes)
        return torch.einsum("bikd,kdh->bih", message, self.basis) + own


class DialogueGCN(Baseline):
    """DialogueGCN; its only loss is the cross-entropy (class weights: `train.class_weights`)."""

    config: DialogueGCNConfig

    def __init__(self, config: DialogueGCNConfig) -> None:
        super().__init__(config)
        d, hidden = config.d, config.hidden
        width = sum(width for _, width in config.widths)
        self.context = nn.GRU(width, d // 2, 2, batch_first=True, bidirectional=True)
        self.edge = nn.Linear(d, d, bias=False)
        self.first = RelationalConvolution(d, hidden, 2 * config.speakers**2, config.bases)
        self.second, self.itself = nn.Linear(hidden, hidden, bias=False), nn.Linear(hidden, hidden)
        self.attention = nn.Linear(d + hidden, d + hidden)
        self.hidden = nn.Linear(d + hidden, hidden)
        self.classifier = nn.Linear(hidden, len(config.labels))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, batch: Batch) -> Output:
        """Compute the logits of a batch."""
        present = self.present(batch)
        utterances = concatenate(self.features(batch, present))
        nodes, mask = pad(run_rnn(self.context, utterances, batch.lengths), batch.lengths)
        edges, relation = self._edges(batch, mask)
        scores = (self.edge(nodes) @ nodes.transpose(1, 2)).masked_fill(~edges, -1e9)
        weight = torch.where(edges, scores.softmax(-1), 0)
        spread = F.relu(self.first(nodes, weight, relation, edges))
        spread = F.relu(edges.to(spread) @ self.second(spread) + self.itself(spread))
        joined = torch.cat([nodes, self.dropout(spread)], -1)
        scores = self.attention(joined) @ joined.transpose(1, 2)
        attended = scores.masked_fill(~mask[:, None, :], -1e9).softmax(-1) @ joined
        hidden = self.dropout(F.relu(self.hidden(attended[mask])))
        return Output(self.classifier(hidden), {}, {}, present)

    def _edges(self, batch: Batch, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return edges (B, T, T) bool and their relations (B, T, T) int64; row i, column j."""
        count = self.config.speakers
        speakers, _ = pad(batch.speakers % count, batch.lengths)
        time = torch.arange(mask.shape[1], device=mask.device)
        near = (time[:, None] - time).abs() <= self.config.window
        edges = near & mask[:, :, None] & mask[:, None, :]
        pair = speakers[:, :, None] * count + speakers[:, None, :]
        return edges, 2 * pair + (time[:, None] > time).long()
