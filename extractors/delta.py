"""Fine-tuned weights as low-rank updates of an encoder: one megabyte instead of ninety.

Each updated linear layer gets W' = W + scale B A (LoRA, Hu et al. 2022, eq. 3), with A (rank, in)
and B (out, rank) in half precision.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pipeline.core.errors import MercError
from pipeline.core.schemas import UpdateAbout, parse_json

__all__ = ["apply_delta", "pack_delta", "read_delta"]

FIELDS = ("base", "weights", "pooling", "cleaning", "scale")


def pack_delta(layers: dict[str, tuple[Tensor, Tensor]], about: dict[str, Any]) -> bytes:
    """Return low-rank updates as the bytes of a safetensors file.

    layers: layer -> (A, B). about: the fields `FIELDS`, which say what the updates belong to.
    """
    tensors = {
        f"{name}.{letter}": part.detach().half().contiguous()
        for name, pair in layers.items()
        for letter, part in zip("AB", pair, strict=True)
    }
    return save(tensors, {"merc": json.dumps({key: about[key] for key in FIELDS}, sort_keys=True)})


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
        with safe_open(path, "pt") as file:
            header = (file.metadata() or {}).get("merc", "{}")
    except SafetensorError as error:
        raise MercError(f"{path}: not a safetensors file ({error})", remedy) from error
    return parse_json(header, UpdateAbout, f"{path}: not an update of an encoder", remedy)


def apply_delta(weights: Mapping[str, Tensor], path: Path) -> None:
    """Add the updates to the weights of an encoder, by name, in float32.

    Raises MercError if a layer does not exist or has another shape.
    """
    scale = float(read_delta(path)["scale"])
    with safe_open(path, "pt") as file, torch.no_grad():
        for name in sorted({key.rpartition(".")[0] for key in file.keys()}):
            a, b = (file.get_tensor(f"{name}.{letter}").float() for letter in "AB")
            try:
                weights[f"{name}.weight"].add_(scale * (b @ a))
            except (KeyError, RuntimeError) as error:
                raise MercError(
                    f"{path}: its update of {name} does not fit this encoder ({error})",
                    "use the update with the encoder that it was trained from",
                ) from error
