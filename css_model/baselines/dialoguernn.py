"""DialogueRNN: recurrent states of the dialogue, of each party, and of the emotion.

Majumder et al. 2019, DialogueRNN: An Attentive RNN for Emotion Detection in Conversations, AAAI.

At each utterance, a global GRU reads it with the state of its speaker; attention over the past
global states gives a context; a party GRU updates the state of the speaker (listeners keep theirs);
an emotion GRU follows the speaker's state. Both directions run over the dialogue (BiDialogueRNN);
attention over all emotion states gives the representation that is classified (the variant with
attention of the paper).

The features of the modalities are concatenated, as in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from css_model.baselines.baseline import Baseline
from css_model.baselines.sequences import concatenate, pad
from css_model.batch import Batch
from css_model.config import BaseConfig
from css_model.interface import Output

__all__ = ["DialogueRNN", "DialogueRNNConfig"]


@dataclass(frozen=True)
class DialogueRNNConfig(BaseConfig):
    """Dimensions and options of DialogueRNN; the defaults are those for IEMOCAP.

    d_global, d_party, d_emotion: of the three states. hidden: of the classifier.
    recurrent_dropout: on the states; dropout: on the hidden layer.

    >>> DialogueRNNConfig(widths={"text": 4}, labels=("joy", "anger")).d_global
    500
    """

    MODEL: ClassVar[str] = "dialoguernn"

    d_global: int = 500
    d_party: int = 500
    d_emotion: int = 300
    hidden: int = 300
    dropout: float = 0.1
    recurrent_dropout: float = 0.1


class _Direction(nn.Module):
    """The three GRUs and the attention over global states, in one direction of time."""

    def __init__(self, config: DialogueRNNConfig) -> None:
        super().__init__()
        width = sum(width for _, width in config.widths)
        self.config = config
        self.global_cell = nn.GRUCell(width + config.d_party, config.d_global)
        self.party_cell = nn.GRUCell(width + config.d_global, config.d_party)
        self.emotion_cell = nn.GRUCell(config.d_party, config.d_emotion)
        self.attention = nn.Linear(width, config.d_global, bias=False)
        self.dropout = nn.Dropout(config.recurrent_dropout)

    def forward(self, utterances: Tensor, speakers: Tensor) -> Tensor:
        """Map (B, T, width) and (B, T) int64 to the emotion states (B, T, d_emotion)."""
        size, steps, _ = utterances.shape
        config, rows = self.config, torch.arange(size, device=utterances.device)
        count = int(speakers.max()) + 1 if speakers.numel() else 1
        parties = utterances.new_zeros(size, count, config.d_party)
        state = utterances.new_zeros(size, config.d_global)
        emotion = utterances.new_zeros(size, config.d_emotion)
        history: list[Tensor] = []
        emotions = []
        for t in range(steps):
            u, speaker = utterances[:, t], speakers[:, t]
            own = parties[rows, speaker]
            context = self._context(u, history)
            state = self.dropout(self.global_cell(torch.cat([u, own], -1), state))
            history.append(state)
            own = self.dropout(self.party_cell(torch.cat([u, context], -1), own))
            parties = parties.clone()
            parties[rows, speaker] = own
            emotion = self.dropout(self.emotion_cell(own, emotion))
            emotions.append(emotion)
        return torch.stack(emotions, 1)

    def _context(self, u: Tensor, history: list[Tensor]) -> Tensor:
        """Return Σ_j α_j g_j with α = softmax(uᵀ W g) over the past global states."""
        if not history:
            return u.new_zeros(len(u), self.config.d_global)
        past = torch.stack(history, 1)
        scores = (past @ self.attention(u).unsqueeze(-1)).squeeze(-1)
        return (scores.softmax(-1).unsqueeze(-1) * past).sum(1)


class DialogueRNN(Baseline):
    """DialogueRNN; its only loss is the cross-entropy (class weights: `train.class_weights`)."""

    config: DialogueRNNConfig

    def __init__(self, config: DialogueRNNConfig) -> None:
        super().__init__(config)
        d = 2 * config.d_emotion
        self.forwards, self.backwards = _Direction(config), _Direction(config)
        self.attention = nn.Linear(d, d)
        self.hidden = nn.Linear(d, config.hidden)
        self.classifier = nn.Linear(config.hidden, len(config.labels))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, batch: Batch) -> Output:
        """Compute the logits of a batch."""
        present = self.present(batch)
        utterances, mask = pad(concatenate(self.features(batch, present)), batch.lengths)
        speakers, _ = pad(batch.speakers, batch.lengths)
        steps = torch.arange(mask.shape[1], device=mask.device)
        ends = mask.sum(1, keepdim=True)
        flip = torch.where(mask, ends - 1 - steps, steps)  # its own inverse
        ahead = self.forwards(utterances, speakers)
        index = flip.unsqueeze(-1)
        back = self.backwards(utterances.take_along_dim(index, 1), speakers.take_along_dim(flip, 1))
        states = torch.cat([ahead, back.take_along_dim(index, 1)], -1)
        scores = self.attention(states) @ states.transpose(1, 2)
        # finite: a dialogue without utterances would give NaN
        scores = scores.masked_fill(~mask[:, None, :], -1e9)
        hidden = F.relu(self.hidden((scores.softmax(-1) @ states)[mask]))
        return Output(self.classifier(self.dropout(hidden)), {}, {}, present)
