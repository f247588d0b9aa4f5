"""Weights of networks in safetensors, in half precision or in eight bits."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline.core.weights import check_weights

__all__ = ["load_weights", "read_weights", "save_weights"]

STEP = "/step"  # after the name of an array of eight bits
SMALL = 4096  # values; smaller arrays stay in half precision
Network = TypeVar("Network", bound=nn.Module)


def load_weights(network: Network, path: Path, name: str = "") -> Network:
    """Load the weights of a network for inference.

    name: of the weights that ship with merc, whose checksum the file must have.

    Raises MercError for another checksum.
    """
    if name:
        check_weights(name, path)
    network.load_state_dict(read_weights(path))
    return network.eval().requires_grad_(False)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read arrays that `save_weights` wrote, as float32."""
    arrays = load_file(path)
    steps = {name: value for name, value in arrays.items() if name.endswith(STEP)}
    values = {name: value.float() for name, value in arrays.items() if name not in steps}
    for name, step in steps.items():
        values[name.removesuffix(STEP)] *= step.float()
    return values


def save_weights(arrays: dict[str, Tensor], path: Path, eight_bits: str | None = None) -> None:
    """Write arrays in half precision, or in eight bits and a step per row.

    eight_bits: part of the names of large arrays that take eight bits; "" for all.

    >>> save_weights({"w": torch.linspace(-1, 1, 8000).view(8, 1000)}, Path("x.safetensors"), "")
    >>> float((read_weights(Path("x.safetensors"))["w"][7, -1] - 1).abs()) < 1e-3
    True
    """
    written = {}
    for name, value in arrays.items():
        large = value.dim() > 1 and value.numel() > SMALL
        if eight_bits is not None and eight_bits in name and large:
            rows = tuple(range(1, value.dim()))
            step = (value.abs().amax(rows, keepdim=True) / 127).clamp(min=1e-7).half()
            written[name + STEP] = step
            written[name] = (value / step.float()).round().clamp(-127, 127).to(torch.int8)
        else:
            written[name] = value.half().contiguous()
    save_file(written, path)
