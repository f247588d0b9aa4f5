"""Fine-tuned weights as low-rank changes of an encoder that is there anyway: one megabyte instead of ninety.

W' = W + scale B A for each changed linear layer (LoRA, Hu et al. 2022, eq. 3), A (rank, in) and B (out, rank) in half
precision.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

__all__ = ["apply_delta", "pack_delta", "read_delta"]

FIELDS = ("base", "weights", "pooling", "cleaning", "scale")


def pack_delta(layers: dict[str, tuple[Tensor, Tensor]], about: dict[str, Any]) -> bytes:
    """Layer -> (A, B), and what the changes belong to (FIELDS), as the bytes of a safetensors file."""
    tensors = {
        f"{name}.{letter}": part.detach().half().contiguous()
        for name, pair in layers.items()
        for letter, part in zip("AB", pair, strict=True)
    }
    return save(tensors, {"merc": json.dumps({key: about[key] for key in FIELDS}, sort_keys=True)})


def read_delta(path: Path) -> dict[str, Any]:
    """What a file of changes belongs to.  Raises FileNotFoundError, or ValueError for another kind of file."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; install merc again, or fine-tune: merc finetune text"
        )
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("merc", "{}"))
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path}: not a safetensors file ({error})") from error
    if not isinstance(about, dict) or set(FIELDS) - set(about):
        raise ValueError(
            f"{path}: not the changes of an encoder; want delta.safetensors of `merc finetune text`, or "
            "the folder of a whole encoder"
        )
    return about


def apply_delta(model: nn.Module, path: Path) -> None:
    """Add the changes to the weights of `model`, in float32.  Raises ValueError where they do not fit."""
    scale = float(read_delta(path)["scale"])
    with safe_open(path, "pt") as file, torch.no_grad():
        for name in sorted({key.rpartition(".")[0] for key in file.keys()}):
            a, b = (file.get_tensor(f"{name}.{letter}").float() for letter in "AB")
            try:
                model.get_parameter(f"{name}.weight").add_(scale * (b @ a))
            except (AttributeError, RuntimeError) as error:
                raise ValueError(
                    f"{path}: its changes of {name} do not fit this encoder ({error})"
                ) from error
