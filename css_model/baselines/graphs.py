"""Graphs with a node for each utterance and modality, as dense matrices per dialogue."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from css_model.baselines.baseline import Baseline
from css_model.baselines.sequences import pad, run_rnn
from css_model.batch import Batch
from css_model.embeddings import SpeakerTable

__all__ = [
    "ContextualModel",
    "DeepGraphConvolution",
    "GraphReadout",
    "ModalityGraph",
    "ModalityNodes",
    "angular_similarity",
    "inverse_root",
    "normalised",
]

NEAR_ONE = 1 - 1e-5  # the slope of arccos is infinite at 1


def angular_similarity(a: Tensor, b: Tensor) -> Tensor:
    """Return 1 - arccos(cosine) / π of all pairs: (…, n, d) and (…, m, d) to (…, n, m).

    The rows of a and b have length 1.
    """
    cosine = (a @ b.transpose(-1, -2)).clamp(-NEAR_ONE, NEAR_ONE)
    return 1 - torch.arccos(cosine) / math.pi


def normalised(weight: Tensor) -> Tensor:
    """Return D^-1/2 W E^-1/2 with the sums D of the rows and E of the columns, (…, n, m).

    >>> normalised(torch.tensor([[4.0, 0.0], [0.0, 0.0]]))
    tensor([[1., 0.],
            [0., 0.]])
    """
    return inverse_root(weight.sum(-1, True)) * weight * inverse_root(weight.sum(-2, True))


def inverse_root(degree: Tensor) -> Tensor:
    """Return 1 / sqrt(degree), 0 for a node without edges."""
    return torch.where(degree > 0, degree.clamp(min=1e-6).rsqrt(), 0)


class ContextualModel(Baseline):
    """A model whose nodes know their speaker, and the text of the dialogue around them.

    project: modality -> linear layer. context: a recurrent network over the text. speaker: an
    embedding that is added to every modality.
    """

    def __init__(self, config: Any, rnn: type[nn.LSTM] | type[nn.GRU] = nn.GRU) -> None:
        super().__init__(config)
        d = config.d
        self.project = nn.ModuleDict({name: nn.Linear(width, d) for name, width in config.widths})
        self.context = rnn(d, d // 2, 2, batch_first=True, bidirectional=True)
        self.speaker = SpeakerTable(config.speakers, d)

    def node_rows(self, batch: Batch, present: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return modality -> (N, d). Rows of missing features are not masked; the graph does."""
        speakers = self.speaker.of(batch)
        rows = self.projected(batch, present, self.project)
        if "text" in rows:
            rows["text"] = run_rnn(self.context, rows["text"], batch.lengths)
        return {name: h + speakers for name, h in rows.items()}


class ModalityNodes:
    """A node for each utterance and modality, M T per dialogue: all of one modality, then the next.

    known: (B, M T, 1) bool, false for missing features and padding.
    modality, time: (M T,) int64, the numbers of a node.
    """

    def __init__(self, present: dict[str, Tensor], lengths: list[int]) -> None:
        self.names, self.lengths = list(present), lengths
        there, self.mask = pad(torch.stack(list(present.values()), 1), lengths)
        self.known = there.transpose(1, 2).flatten(1).unsqueeze(-1)
        count, steps, device = len(self.names), self.mask.shape[1], self.mask.device
        self.modality = torch.arange(count, device=device).repeat_interleave(steps)
        self.time = torch.arange(steps, device=device).repeat(count)

    def edges(self) -> Tensor:
        """Return (B, M T, M T) bool: same modality or same utterance, neither of them missing."""
        same_modality = self.modality[:, None] == self.modality
        same_time = self.time[:, None] == self.time
        return (same_modality | same_time) & self.known & self.known.transpose(1, 2)

    def nodes(self, rows: dict[str, Tensor]) -> Tensor:
        """Return the nodes (B, M T, d) of modality -> (N, d)."""
        padded, _ = pad(torch.stack([rows[name] for name in self.names], 1), self.lengths)
        return padded.transpose(1, 2).flatten(1, 2) * self.known

    def rows(self, nodes: Tensor) -> Tensor:
        """Return (N, M d): the nodes of each utterance side by side, zero where missing."""
        shaped = (nodes * self.known).unflatten(1, (len(self.names), -1)).transpose(1, 2)
        return shaped[self.mask].flatten(1)


class ModalityGraph(ModalityNodes):
    """The graph of MMGCN over all modalities of each dialogue.

    adjacency: (B, M T, M T). Two nodes of one modality, and two modalities of one utterance, are
    joined by an edge of weight 1 - arccos(cosine) / π; the matrix is normalised by the degrees on
    both sides. Missing features have no edge.
    """

    def __init__(
        self, rows: dict[str, Tensor], present: dict[str, Tensor], lengths: list[int]
    ) -> None:
        super().__init__({name: present[name] for name in rows}, lengths)
        unit = self.nodes({name: F.normalize(x, dim=-1) for name, x in rows.items()})
        self.adjacency = normalised(torch.where(self.edges(), angular_similarity(unit, unit), 0))


class DeepGraphConvolution(nn.Module):
    """One layer of GCNII (Chen et al. 2020): ((1-α) P H + α H0) ((1-β) I + β W), β = ln(η/l + 1).

    split: W maps the concatenation of P H and H0 (GCNII*).
    """

    def __init__(self, d: int, layer: int, alpha: float, eta: float, split: bool = False) -> None:
        super().__init__()
        self.alpha, self.beta, self.split = alpha, math.log(eta / layer + 1), split
        self.weight = nn.Parameter(torch.empty(2 * d if split else d, d))
        nn.init.uniform_(self.weight, -(d**-0.5), d**-0.5)

    def forward(self, nodes: Tensor, first: Tensor, adjacency: Tensor) -> Tensor:
        spread = adjacency @ nodes
        mixed = (1 - self.alpha) * spread + self.alpha * first
        inside = torch.cat([spread, first], -1) if self.split else mixed
        return (1 - self.beta) * mixed + self.beta * (inside @ self.weight)


class GraphReadout(nn.Module):
    """Classify utterances by the nodes before and after the graph, all modalities side by side."""

    def __init__(self, width: int, hidden: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.combine, self.classifier = nn.Linear(width, hidden), nn.Linear(hidden, classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, graph: ModalityNodes, *nodes: Tensor) -> Tensor:
        """Return logits (N, c). nodes: (B, M T, …); their widths add up to `width`."""
        joined = torch.cat([graph.rows(part) for part in nodes], -1)
        return self.classifier(self.dropout(F.relu(self.combine(self.dropout(joined)))))
