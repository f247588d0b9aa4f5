"""ICON: an interactive conversational memory network.

Hazarika et al. 2018, ICON: Interactive Conversational Memory Network for Multimodal Emotion
Detection, EMNLP.

One GRU follows the speaker's own past utterances, another those of the others. A global GRU reads
both in the order of time and fills the memory; in every hop, the utterance attends to the memory,
adds what it reads, and a GRU rewrites the memory.

Decided here: as for CMN, the GRUs run over the whole past and the memory holds the last `window`
utterances; in larger groups, everyone else is "the other", each with a state of their own. The
features of the modalities are concatenated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from css_model.baselines.baseline import Baseline
from css_model.baselines.cmn import CMNConfig, read_memory
from css_model.baselines.sequences import concatenate, pad, run_rnn, same_speaker_order
from css_model.batch import Batch
from css_model.interface import Output

__all__ = ["ICON", "ICONConfig"]


@dataclass(frozen=True)
class ICONConfig(CMNConfig):
    """Dimensions and options of ICON, the same as those of CMN.

    >>> ICONConfig(widths={"text": 4}, labels=("joy", "anger")).hops
    3
    """

    MODEL: ClassVar[str] = "icon"


class ICON(Baseline):
    """ICON; its only loss is the cross-entropy."""

    config: ICONConfig

    def __init__(self, config: ICONConfig) -> None:
        super().__init__(config)
        d, width = config.d, sum(width for _, width in config.widths)
        self.query = nn.Linear(width, d)
        self.own = nn.GRU(width, d, batch_first=True)
        self.other = nn.GRU(width, d, batch_first=True)
        self.together = nn.GRU(d, d, batch_first=True)
        self.rewrite = nn.GRU(d, d, batch_first=True)
        self.classifier = nn.Linear(d, len(config.labels))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, batch: Batch) -> Output:
        """Compute the logits of a batch."""
        present = self.present(batch)
        utterances = concatenate(self.features(batch, present))
        order, runs = same_speaker_order(batch.speakers, batch.lengths)
        inverse = torch.argsort(order)
        own = self.dropout(run_rnn(self.own, utterances[order], runs)[inverse])
        other = self.dropout(run_rnn(self.other, utterances[order], runs)[inverse])
        padded, mask = pad(torch.stack([own, other], 1), batch.lengths)
        speakers, _ = pad(batch.speakers, batch.lengths)
        query, _ = pad(torch.tanh(self.query(utterances)), batch.lengths)
        count = int(speakers.max()) + 1 if speakers.numel() else 1
        result = torch.zeros_like(query)
        for speaker in range(count):  # the memory depends on whose turn it is
            turn = (speakers == speaker) & mask
            memory = torch.tanh(
                torch.where((speakers == speaker)[..., None], padded[:, :, 0], padded[:, :, 1])
            )
            result = torch.where(turn.unsqueeze(-1), self._hop(query, memory, mask), result)
        return Output(self.classifier(result[mask]), {}, {}, present)

    def _hop(self, query: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """Return the queries after all hops, (B, T, d). Padding is last, so no state sees it."""
        time = torch.arange(mask.shape[1], device=mask.device)
        past = (time[:, None] > time) & (time[:, None] - time <= self.config.window)
        readable = past & mask[:, None, :]
        for hop in range(self.config.hops):
            memory, _ = (self.rewrite if hop else self.together)(memory)
            query = torch.tanh(query + read_memory(query, memory, readable))
        return query
