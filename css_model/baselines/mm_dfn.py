"""MM-DFN: a graph-based multimodal dynamic fusion network.

Hu et al. 2022, MM-DFN: Multimodal Dynamic Fusion Network for Emotion Recognition in Conversations,
ICASSP.

Text passes a bidirectional LSTM over the dialogue, the other modalities a linear layer. A second
LSTM, shared by the modalities, reads the utterances of each speaker alone; its output is added with
a weight per modality. On the graph of MMGCN, the gates of an LSTM cell decide what enters each
layer (dynamic fusion), and a layer adds its output to its input.

Open in the paper, decided here: layers are GCNII*, all share one LSTM cell, and the loss is plain
cross-entropy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from css_model.baselines.baseline import Baseline
from css_model.baselines.graphs import DeepGraphConvolution, GraphReadout, ModalityGraph
from css_model.baselines.sequences import run_rnn, same_speaker_order
from css_model.batch import Batch
from css_model.config import BaseConfig
from css_model.interface import Output

__all__ = ["MMDFN", "MMDFNConfig"]


@dataclass(frozen=True)
class MMDFNConfig(BaseConfig):
    """Dimensions and options of MM-DFN.

    d: width of the utterances before the graph, even. hidden: width of the nodes in the graph.
    alpha, eta: as in MMGCN. text_speaker, audio_speaker, visual_speaker: weights of what the
    speaker said, per modality.

    >>> MMDFNConfig(widths={"text": 4}, labels=("joy", "anger")).layers
    16
    """

    MODEL: ClassVar[str] = "mm-dfn"

    d: int = 200
    hidden: int = 100
    layers: int = 16
    dropout: float = 0.4
    alpha: float = 0.2
    eta: float = 0.5
    text_speaker: float = 3.0
    audio_speaker: float = 0.0
    visual_speaker: float = 1.0


class MMDFN(Baseline):
    """MM-DFN; its only loss is the cross-entropy."""

    config: MMDFNConfig

    def __init__(self, config: MMDFNConfig) -> None:
        super().__init__(config)
        d, hidden, count = config.d, config.hidden, len(config.modalities)
        self.project = nn.ModuleDict({name: nn.Linear(width, d) for name, width in config.widths})
        self.context = nn.LSTM(d, d // 2, 2, batch_first=True, bidirectional=True)
        self.speaker = nn.LSTM(d, d // 2, 2, batch_first=True, bidirectional=True)
        self.enter = nn.Linear(d, hidden)
        self.fusion = nn.LSTMCell(hidden, hidden)
        self.convolutions = nn.ModuleList(
            DeepGraphConvolution(hidden, layer + 1, config.alpha, config.eta, split=True)
            for layer in range(config.layers)
        )
        classes = len(config.labels)
        self.readout = GraphReadout(count * (d + hidden), hidden, classes, config.dropout)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, batch: Batch) -> Output:
        """Compute the logits of a batch."""
        present = self.present(batch)
        order, runs = same_speaker_order(batch.speakers, batch.lengths)
        rows = {}
        for name, h in self.projected(batch, present, self.project).items():
            spoken = torch.empty_like(h)
            spoken[order] = run_rnn(self.speaker, h[order], runs)
            own = run_rnn(self.context, h, batch.lengths) if name == "text" else h
            rows[name] = own + getattr(self.config, f"{name}_speaker", 1.0) * spoken
        graph = ModalityGraph(rows, present, batch.lengths)
        inputs = graph.nodes(rows)
        logits = self.readout(graph, inputs, self._convolve(graph, inputs))
        return Output(logits, {}, {}, present)

    def _convolve(self, graph: ModalityGraph, inputs: Tensor) -> Tensor:
        nodes = first = F.relu(self.enter(self.dropout(inputs))) * graph.known
        flat = nodes.flatten(0, 1)
        state = (torch.zeros_like(flat), torch.zeros_like(flat))
        for layer in self.convolutions:
            state = self.fusion(nodes.flatten(0, 1), state)
            chosen = state[0].view_as(nodes) * graph.known
            nodes = nodes + F.relu(layer(chosen, first, graph.adjacency))
        return nodes
