"""Hear which of up to three people speak, every 17 ms, in ten seconds of sound.

The network is pyannote/segmentation-3.0 (Bredin and Laurent 2021, "End-to-end speaker segmentation
for overlap-aware resegmentation"; Plaquet and Bredin 2023, "Powerset multi-class cross entropy loss
for neural speaker diarization"): filters over the samples, three pooled convolutions, four
bidirectional LSTM layers, two linear layers, and one class for each set of up to two of three
speakers. The order of the speakers means nothing and is kept within one sound only.

`pipeline.recipes.talking` converts the published weights.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from extractors.weight_files import load_weights

__all__ = ["CENTRE", "HOP", "SECONDS", "WEIGHTS", "TalkingNetwork", "load_talking"]

WEIGHTS = Path(__file__).parent / "weights" / "talking.safetensors"
SECONDS = 10.0  # of sound that the network was trained on
HOP = 270  # samples at 16 kHz from one frame of the output to the next
CENTRE = 495  # samples from the start of the sound to the middle of what the first frame hears
SETS = ((), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2))  # who speaks, for each class
SPEAKERS = 3
_FILTERS, _CHANNELS, _HIDDEN = 80, 60, 128


class TalkingNetwork(nn.Module):
    """Map samples (n, samples) at 16 kHz to probabilities (n, frames, 4).

    The first three are those that each speaker speaks; the last, that two speak at once.
    """

    sets: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.samples = nn.InstanceNorm1d(1, affine=True)
        self.filters = nn.Conv1d(1, _FILTERS, 251, stride=10, bias=False)
        self.convolutions = nn.ModuleList(
            [nn.Conv1d(_FILTERS, _CHANNELS, 5), nn.Conv1d(_CHANNELS, _CHANNELS, 5)]
        )
        self.norms = nn.ModuleList(
            nn.InstanceNorm1d(size, affine=True) for size in (_FILTERS, _CHANNELS, _CHANNELS)
        )
        self.lstm = nn.LSTM(_CHANNELS, _HIDDEN, 4, batch_first=True, bidirectional=True)
        self.linear = nn.ModuleList([nn.Linear(2 * _HIDDEN, _HIDDEN), nn.Linear(_HIDDEN, _HIDDEN)])
        self.classifier = nn.Linear(_HIDDEN, len(SETS))
        sets = torch.tensor(
            [[*(who in members for who in range(SPEAKERS)), len(members) > 1] for members in SETS],
            dtype=torch.float32,
        )
        self.register_buffer("sets", sets, persistent=False)

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        x = self.filters(self.samples(samples[:, None])).abs()
        x = F.leaky_relu(self.norms[0](F.max_pool1d(x, 3)))
        for convolution, norm in zip(self.convolutions, self.norms[1:], strict=True):
            x = F.leaky_relu(norm(F.max_pool1d(convolution(x), 3)))
        x = self.lstm(x.transpose(1, 2))[0]
        for layer in self.linear:
            x = F.leaky_relu(layer(x))
        return torch.softmax(self.classifier(x), 2) @ self.sets


@cache
def load_talking(path: Path = WEIGHTS) -> TalkingNetwork:
    """Load the network in evaluation mode; by default the one that ships with merc."""
    return load_weights(TalkingNetwork(), path, "talking network" if path == WEIGHTS else "")
