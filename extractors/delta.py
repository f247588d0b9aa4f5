"""Fine-tuned weights as low-rank updates of an encoder: one megabyte instead of ninety.

Each updated linear layer gets W' = W + scale B A (LoRA, Hu et al. 2022, eq. 3), with A (rank, in)
and B (out, rank) in half precision.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from pipeline.core.errors import MercError
from pipeline.core.schemas import UpdateAbout, parse_json

__all__ = ["pack_delta", "read_delta", "read_updates"]

FIELDS = ("base", "weights", "pooling", "cleaning", "scale")


def pack_delta(layers: dict[str, tuple[np.ndarray, np.ndarray]], about: dict[str, Any]) -> bytes:
    """Return low-rank updates as the bytes of a safetensors file.

    layers: layer -> (A, B). about: the fields `FIELDS`, which say what the updates belong to.
    """
    arrays = {
        f"{name}.{letter}": np.ascontiguousarray(part, np.float16)
        for name, pair in layers.items()
        for letter, part in zip("AB", pair, strict=True)
    }
    return save(arrays, {"merc": json.dumps({key: about[key] for key in FIELDS}, sort_keys=True)})


def read_delta(path: Path) -> dict[str, Any]:
    """Read the fields `FIELDS` of a file of updates: what the updates belong to.

    Raises MercError if the file does not exist or is of another kind.
    """
    if not path.is_file():
        raise MercError(
            f"{path}: no such file", "install merc again, or fine-tune: merc finetune text"
        )
    remedy = "use delta.safetensors of `merc finetune text`, or the folder of a whole encoder"
    try:
        with safe_open(path, "np") as file:
            header = (file.metadata() or {}).get("merc", "{}")
    except SafetensorError as error:
        raise MercError(f"{path}: not a safetensors file ({error})", remedy) from error
    return parse_json(header, UpdateAbout, f"{path}: not an update of an encoder", remedy)


def read_updates(path: Path, weights: Mapping[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield name and update, scale B A, of each weight of an encoder that changes, in float32.

    weights: those of the encoder, arrays or tensors.

    Raises MercError if a layer does not exist or has another shape.
    """
    scale = np.float32(read_delta(path)["scale"])
    with safe_open(path, "np") as file:
        for layer in sorted({key.rpartition(".")[0] for key in file.keys()}):
            a, b = (file.get_tensor(f"{layer}.{letter}").astype(np.float32) for letter in "AB")
            name = f"{layer}.weight"
            shape = tuple(weights[name].shape) if name in weights else None
            if shape != b.shape[:1] + a.shape[1:] or a.shape[:1] != b.shape[1:]:
                raise MercError(
                    f"{path}: its update of {layer} does not fit this encoder ({a.shape} and "
                    f"{b.shape} for a weight of {shape})",
                    "use the update with the encoder that it was trained from",
                )
            yield name, scale * (b @ a)
