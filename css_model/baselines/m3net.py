"""M3NET: a hypergraph over modalities and context, and a graph that keeps high frequencies.

Chen et al. 2023, Multivariate, Multi-Frequency and Multimodal: Rethinking Graph Neural Networks for
Emotion Recognition in Conversation, CVPR.

Text passes a bidirectional GRU over the dialogue, the other modalities a linear layer; speaker
embeddings are added. Two branches read these nodes: convolutions on a hypergraph with an edge per
modality and one per utterance, and convolutions on a graph that weigh a low-pass against a
high-pass filter for every edge. The outputs of both for all modalities are concatenated and
classified.

The paper's full text was not at hand. Decided here: weights of hyperedges and of nodes in them are
learned per modality and kind of hyperedge, as dialogues have different lengths; the second branch
starts with a linear layer and a ReLU, as in FAGCN (Bo et al. 2021), which its filters come from;
the GRU has two layers.

Widths 512 (IEMOCAP) and 816 (MELD) were chosen by the figures for the parameters, 6.6 M and 14.1 M,
and come within 2 % of both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from css_model.baselines.graphs import ContextualModel, GraphReadout, normalised
from css_model.baselines.hypergraphs import HypergraphConvolution, ModalityHypergraph
from css_model.batch import Batch
from css_model.config import SpeakerConfig
from css_model.interface import Output

__all__ = ["M3NET", "FrequencyConvolution", "M3NETConfig"]


@dataclass(frozen=True)
class M3NETConfig(SpeakerConfig):
    """Dimensions and options of M3NET; the defaults are those for IEMOCAP.

    d: width of the model, even. layers: of the hypergraph. frequency_layers: of the graph.

    >>> M3NETConfig(widths={"text": 4}, labels=("joy", "anger")).frequency_layers
    4
    """

    MODEL: ClassVar[str] = "m3net"

    d: int = 512
    layers: int = 3
    frequency_layers: int = 4
    dropout: float = 0.5
    speakers: int = 2


class FrequencyConvolution(nn.Module):
    """v_i + Σ_j r_ij / sqrt(d_i d_j) v_j with r_ij = tanh(gᵀ [v_i; v_j]) over the edges of i.

    It is the sum of a low-pass and a high-pass filter, I ± D^-1/2 A D^-1/2, with weights of sum 1
    and difference r.
    """

    def __init__(self, d: int) -> None:
        super().__init__()
        self.target, self.source = nn.Linear(d, 1), nn.Linear(d, 1, bias=False)

    def forward(self, nodes: Tensor, adjacency: Tensor, dropout: nn.Module) -> Tensor:
        """Map nodes (B, n, d). adjacency: D^-1/2 A D^-1/2 (B, n, n)."""
        ratio = torch.tanh(self.target(nodes) + self.source(nodes).transpose(1, 2))
        return nodes + dropout(ratio * adjacency) @ nodes


class M3NET(ContextualModel):
    """M3NET; its only loss is the cross-entropy."""

    config: M3NETConfig

    def __init__(self, config: M3NETConfig) -> None:
        super().__init__(config)
        d, count = config.d, len(config.modalities)
        self.hypergraph = nn.ModuleList(
            HypergraphConvolution(d, count) for _ in range(config.layers)
        )
        self.enter = nn.Linear(d, d)
        self.graph = nn.ModuleList(FrequencyConvolution(d) for _ in range(config.frequency_layers))
        self.readout = GraphReadout(2 * count * d, d, len(config.labels), config.dropout)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, batch: Batch) -> Output:
        """Compute the logits of a batch."""
        present = self.present(batch)
        graph = ModalityHypergraph(present, batch.lengths)
        inputs = graph.nodes(self.node_rows(batch, present))
        nodes = inputs
        for layer in self.hypergraph:
            nodes = layer(self.dropout(nodes), graph.incidence.to(nodes))
        logits = self.readout(graph, nodes, self._frequencies(graph, inputs))
        return Output(logits, {}, {}, present)

    def _frequencies(self, graph: ModalityHypergraph, inputs: Tensor) -> Tensor:
        edges = graph.edges() & ~torch.eye(inputs.shape[1], dtype=torch.bool, device=inputs.device)
        adjacency = normalised(edges.to(inputs.dtype))
        nodes = F.relu(self.enter(self.dropout(inputs)))
        for layer in self.graph:
            nodes = layer(nodes, adjacency, self.dropout)
        return nodes
