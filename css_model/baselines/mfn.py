"""MFN: a memory fusion network.

Zadeh et al. 2018, Memory Fusion Network for Multi-view Sequential Learning, AAAI.

Each modality has an LSTM. The Delta-memory attention looks at the cells of all LSTMs before and
after a step; what it selects updates a gated memory that all share. Outputs of the LSTMs and the
memory are classified at every step.

MFN reads words; here the utterances of a dialogue are the sequence. It sees the past alone, and no
speakers. An LSTM keeps its state where its modality is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from css_model.baselines.baseline import Baseline
from css_model.baselines.sequences import pad
from css_model.batch import Batch
from css_model.config import BaseConfig
from css_model.interface import Output

__all__ = ["MFN", "MFNConfig"]


@dataclass(frozen=True)
class MFNConfig(BaseConfig):
    """Dimensions and options of MFN. d: of each LSTM. memory: of the memory. hidden: of its nets.

    >>> MFNConfig(widths={"text": 4}, labels=("joy", "anger")).memory
    128
    """

    MODEL: ClassVar[str] = "mfn"

    d: int = 128
    memory: int = 128
    hidden: int = 128
    dropout: float = 0.3


class MFN(Baseline):
    """MFN; its only loss is the cross-entropy."""

    config: MFNConfig

    def __init__(self, config: MFNConfig) -> None:
        super().__init__(config)
        d, memory, hidden = config.d, config.memory, config.hidden
        total = d * len(config.modalities)
        self.cells = nn.ModuleDict({name: nn.LSTMCell(width, d) for name, width in config.widths})

        def net(size: int, out: int) -> nn.Sequential:
            drop = nn.Dropout(config.dropout)
            return nn.Sequential(nn.Linear(size, hidden), nn.ReLU(), drop, nn.Linear(hidden, out))

        self.attention = net(2 * total, 2 * total)
        self.update = net(2 * total, memory)
        self.retain_gate = net(2 * total + memory, memory)
        self.update_gate = net(2 * total + memory, memory)
        self.classifier = net(total + memory, len(config.labels))

    def forward(self, batch: Batch) -> Output:
        """Compute the logits of a batch."""
        present = self.present(batch)
        inputs, masks = {}, {}
        for name, x in self.features(batch, present).items():
            inputs[name], mask = pad(x, batch.lengths)
            masks[name] = pad(present[name], batch.lengths)[0].unsqueeze(-1)
        size, steps = mask.shape
        zero = next(iter(inputs.values())).new_zeros(size, self.config.d)
        states = dict.fromkeys(inputs, (zero, zero))
        memory = zero.new_zeros(size, self.config.memory)
        outputs = []
        for t in range(steps):
            before = [states[name][1] for name in inputs]
            for name, cell in self.cells.items():
                new = cell(inputs[name][:, t], states[name])
                kept = masks[name][:, t]
                states[name] = (
                    torch.where(kept, new[0], states[name][0]),
                    torch.where(kept, new[1], states[name][1]),
                )
            memory = self._remember(
                torch.cat([*before, *(s[1] for s in states.values())], -1), memory
            )
            outputs.append(torch.cat([*(s[0] for s in states.values()), memory], -1))
        return Output(self.classifier(torch.stack(outputs, 1)[mask]), {}, {}, present)

    def _remember(self, cells: Tensor, memory: Tensor) -> Tensor:
        """Return the memory after a step; cells: (B, 2 M d), before and after it."""
        attended = self.attention(cells).softmax(-1) * cells
        both = torch.cat([attended, memory], -1)
        retain, update = (
            torch.sigmoid(self.retain_gate(both)),
            torch.sigmoid(self.update_gate(both)),
        )
        return retain * memory + update * torch.tanh(self.update(attended))
