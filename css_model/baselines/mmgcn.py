"""MMGCN: multimodal fusion by a deep graph convolution network.

Hu et al. 2021, MMGCN: Multimodal Fusion via Deep Graph Convolution Network for Emotion Recognition
in Conversation, ACL.

Text passes a bidirectional LSTM over the dialogue, the other modalities a linear layer; speaker
embeddings are added. A graph joins all utterances within a modality and the modalities of an
utterance (`ModalityGraph`). What the layers of GCNII make of the nodes is concatenated with their
inputs and classified.

Open in the paper, decided here: the speaker embedding is added to every modality, the text is
projected before the LSTM, and the loss is plain cross-entropy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from css_model.baselines.graphs import (
    ContextualModel,
    DeepGraphConvolution,
    GraphReadout,
    ModalityGraph,
)
from css_model.batch import Batch
from css_model.config import SpeakerConfig
from css_model.interface import Output

__all__ = ["MMGCN", "MMGCNConfig"]


@dataclass(frozen=True)
class MMGCNConfig(SpeakerConfig):
    """Dimensions and options of MMGCN.

    d: width of the utterances before the graph, even. hidden: width of the nodes in the graph.
    alpha, eta: share of the first layer in every layer, and how fast its weights lose influence.

    >>> MMGCNConfig(widths={"text": 4}, labels=("joy", "anger")).layers
    4
    """

    MODEL: ClassVar[str] = "mmgcn"

    d: int = 200
    hidden: int = 100
    layers: int = 4
    dropout: float = 0.4
    alpha: float = 0.2
    eta: float = 0.5
    speakers: int = 2


class MMGCN(ContextualModel):
    """MMGCN; its only loss is the cross-entropy."""

    config: MMGCNConfig

    def __init__(self, config: MMGCNConfig) -> None:
        super().__init__(config, nn.LSTM)
        d, hidden, count = config.d, config.hidden, len(config.modalities)
        self.enter = nn.Linear(d, hidden)
        self.convolutions = nn.ModuleList(
            DeepGraphConvolution(hidden, layer + 1, config.alpha, config.eta)
            for layer in range(config.layers)
        )
        classes = len(config.labels)
        self.readout = GraphReadout(count * (d + hidden), hidden, classes, config.dropout)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, batch: Batch) -> Output:
        """Compute the logits of a batch."""
        present = self.present(batch)
        rows = self.node_rows(batch, present)
        graph = ModalityGraph(rows, present, batch.lengths)
        inputs = graph.nodes(rows)
        logits = self.readout(graph, inputs, self._convolve(graph, inputs))
        return Output(logits, {}, {}, present)

    def _convolve(self, graph: ModalityGraph, inputs: Tensor) -> Tensor:
        nodes = first = F.relu(self.enter(self.dropout(inputs))) * graph.known
        for layer in self.convolutions:
            nodes = F.relu(layer(self.dropout(nodes), first, graph.adjacency))
        return nodes
