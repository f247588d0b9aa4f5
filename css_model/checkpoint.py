"""Write and read a trained model, its weights as torch tensors. Its format: `css_model.stored`."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from css_model.config import BaseConfig
from css_model.no_values import without_values
from css_model.registry import make_model
from css_model.stored import FORMAT, Checkpoint, Shapes, read_checkpoint

__all__ = ["load_checkpoint", "save_checkpoint"]


def save_checkpoint(path: Path, checkpoint: Checkpoint, half: bool = False) -> None:
    """Write a checkpoint atomically.

    half: store weights as float16, which halves the file. Statistics remain float32, because values
    of IS10 exceed float16.

    Raises ValueError if `half` and a weight exceeds float16, OSError if writing fails.
    """
    dtype = torch.float16 if half else torch.float32
    tensors = {
        f"model.{name}": torch.as_tensor(values).detach().cpu().to(dtype).contiguous()
        for name, values in checkpoint.state.items()
    }
    if half and not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise ValueError("weights beyond 65504 do not fit half precision; save with half=False")
    tensors |= {
        f"normaliser.{name}": torch.from_numpy(values)
        for name, values in checkpoint.normaliser.tensors().items()
    }
    tensors["log_prior"] = torch.from_numpy(np.asarray(checkpoint.log_prior, np.float32))
    header = {
        "format": FORMAT,
        "config": checkpoint.config.to_dict(),
        "normaliser": checkpoint.normaliser.to_dict(),
        "fingerprints": checkpoint.fingerprints,
        "temperatures": checkpoint.temperatures,
        "extra": checkpoint.extra,
    }
    if checkpoint.config.MODEL != "css":  # files of CSS have no name, as those of older versions
        header["model"] = checkpoint.config.MODEL
    text = json.dumps(header, sort_keys=True, ensure_ascii=False, allow_nan=False)
    _write(Path(path), save(tensors, metadata={"merc": text}))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint and check all of it.

    Raises OSError if the file cannot be read, ValueError with its name if it is malformed.
    """
    checkpoint = read_checkpoint(path, _shapes)
    state = {name: torch.from_numpy(array) for name, array in checkpoint.state.items()}
    return replace(checkpoint, state=state)


def _shapes(config: BaseConfig) -> Shapes:
    with without_values():
        state = make_model(config).state_dict()
    return {name: tuple(tensor.shape) for name, tensor in state.items()}
