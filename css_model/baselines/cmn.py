"""CMN: a conversational memory network.

Hazarika et al. 2018, Conversational Memory Network for Emotion Recognition in Dyadic Dialogue
Videos, NAACL.

The past utterances of the speaker and those of the other are two memories, each read by a GRU of
its own. In every hop the utterance attends to both, adds what it reads, and the memories are
rewritten by the GRUs of the next hop.

Decided here: the GRUs run over everything that a speaker has said so far, and the memory holds the
last `window` utterances; in larger groups, "the other" is everyone else, each with a GRU state of
their own. The features of the modalities are concatenated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from css_model.baselines.baseline import Baseline
from css_model.baselines.sequences import (
    concatenate,
    positions_in_time,
    run_rnn,
    same_speaker_order,
)
from css_model.batch import Batch
from css_model.config import BaseConfig
from css_model.interface import Output

__all__ = ["CMN", "CMNConfig", "read_memory"]


@dataclass(frozen=True)
class CMNConfig(BaseConfig):
    """Dimensions and options of CMN. window: past utterances in memory. hops: times it is read.

    >>> CMNConfig(widths={"text": 4}, labels=("joy", "anger")).window
    40
    """

    MODEL: ClassVar[str] = "cmn"

    d: int = 100
    window: int = 40
    hops: int = 3
    dropout: float = 0.3


def read_memory(query: Tensor, memory: Tensor, readable: Tensor) -> Tensor:
    """Return Σ_j p_j m_j with p = softmax(qᵀ m) over the readable cells; zero without any.

    query: (B, T, d). memory: (B, T, d) or (B, T, T, d), row i for query i. readable: (B, T, T).
    """
    if memory.dim() == 3:
        scores = query @ memory.transpose(1, 2)
    else:
        scores = torch.einsum("bid,bijd->bij", query, memory)
    weight = torch.where(readable, scores.masked_fill(~readable, -1e9).softmax(-1), 0)
    if memory.dim() == 3:
        return weight @ memory
    return torch.einsum("bij,bijd->bid", weight, memory)


class CMN(Baseline):
    """CMN; its only loss is the cross-entropy."""

    config: CMNConfig

    def __init__(self, config: CMNConfig) -> None:
        super().__init__(config)
        d, width = config.d, sum(width for _, width in config.widths)
        self.query = nn.Linear(width, d)
        sizes = [width] + [d] * (config.hops - 1)
        self.own = nn.ModuleList(nn.GRU(size, d, batch_first=True) for size in sizes)
        self.other = nn.ModuleList(nn.GRU(size, d, batch_first=True) for size in sizes)
        self.classifier = nn.Linear(d, len(config.labels))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, batch: Batch) -> Output:
        """Compute the logits of a batch."""
        present = self.present(batch)
        utterances = concatenate(self.features(batch, present))
        order, runs = same_speaker_order(batch.speakers, batch.lengths)
        layout = _Rows(batch)
        query = torch.tanh(self.query(utterances))
        own = other = utterances
        for own_gru, other_gru in zip(self.own, self.other, strict=True):
            own = self.dropout(_by_speaker(own_gru, own, order, runs))
            other = self.dropout(_by_speaker(other_gru, other, order, runs))
            read = layout.read(query, own, other, self.config.window)
            query = torch.tanh(query + read)
        return Output(self.classifier(query), {}, {}, present)


def _by_speaker(gru: nn.Module, rows: Tensor, order: Tensor, runs: list[int]) -> Tensor:
    """Run a GRU over what each speaker says; return its states in the order of the batch."""
    assert isinstance(gru, nn.GRU)
    states = run_rnn(gru, rows[order], runs)
    return states[torch.argsort(order)]


class _Rows:
    """Which past utterances of a dialogue are the speaker's own, and which another's."""

    def __init__(self, batch: Batch) -> None:
        device = batch.speakers.device
        self.dialogue, self.time = positions_in_time(batch.lengths, device)
        self.steps = max(batch.lengths, default=0)
        self.shape = (len(batch.lengths), self.steps)
        self.speakers = self.spread(batch.speakers + 1)  # 0: no utterance

    def spread(self, rows: Tensor) -> Tensor:
        """Map (N, …) to (B, T, …)."""
        padded = rows.new_zeros(*self.shape, *rows.shape[1:])
        return padded.index_put((self.dialogue, self.time), rows)

    def read(self, query: Tensor, own: Tensor, other: Tensor, window: int) -> Tensor:
        """Return what the queries read in both memories, (N, d)."""
        time = torch.arange(self.steps, device=query.device)
        past = (time[:, None] > time) & (time[:, None] - time <= window)
        there = past & (self.speakers > 0)[:, None, :]
        same = self.speakers[:, :, None] == self.speakers[:, None, :]
        padded = self.spread(query)
        total = read_memory(padded, self.spread(own), there & same)
        total = total + read_memory(padded, self.spread(other), there & ~same)
        return total[self.dialogue, self.time]
