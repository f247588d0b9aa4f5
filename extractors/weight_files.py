"""Weights of networks in safetensors, in half precision or in eight bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

__all__ = ["read_weights", "save_weights"]

STEP = "/step"  # after the name of an array of eight bits
SMALL = 4096  # values; smaller arrays stay in half precision


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Read arrays that `save_weights` wrote, as float32."""
    arrays = load_file(path)
    steps = {name: value for name, value in arrays.items() if name.endswith(STEP)}
    values = {name: value.astype(np.float32) for name, value in arrays.items() if name not in steps}
    for name, step in steps.items():
        values[name.removesuffix(STEP)] *= step.astype(np.float32)
    return values


def save_weights(arrays: dict[str, np.ndarray], path: Path, eight_bits: str | None = None) -> None:
    """Write float32 arrays in half precision, or in eight bits and a step per row.

    eight_bits: part of the names of large arrays that take eight bits; "" for all.

    >>> save_weights({"w": np.linspace(-1, 1, 8000).reshape(8, 1000)}, Path("x.safetensors"), "")
    >>> bool(abs(read_weights(Path("x.safetensors"))["w"][7, -1] - 1) < 1e-3)
    True
    """
    written = {}
    for name, value in arrays.items():
        large = value.ndim > 1 and value.size > SMALL
        if eight_bits is not None and eight_bits in name and large:
            rows = tuple(range(1, value.ndim))
            largest = np.abs(value).max(rows, keepdims=True)
            step = np.maximum(largest / 127, 1e-7).astype(np.float16)
            written[name + STEP] = step
            rounded = np.round(value / step.astype(np.float32))
            written[name] = rounded.clip(-127, 127).astype(np.int8)
        else:
            written[name] = np.ascontiguousarray(value, np.float16)
    save_file(written, path)
