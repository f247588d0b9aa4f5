"""One safetensors file with all that a trained model is: weights, dimensions, statistics, fingerprints, priors.

The header holds ONE metadata entry, `merc`, of sorted JSON: safetensors writes several in random order, and the same
model must give the same bytes.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from css_model.config import CSSConfig
from css_model.model import CSS
from css_model.normalise import Normaliser

__all__ = ["Checkpoint", "load_checkpoint", "save_checkpoint"]

FORMAT = 1
_FIELDS = {"format", "config", "normaliser", "fingerprints", "temperatures", "extra"}


@dataclass
class Checkpoint:
    """state: of `CSS(config)`, float32.  fingerprints: modality -> what made its features, None if unknown.

    log_prior (c,): log of the training label distribution.  temperatures: "text+audio+visual" and the other sets of
    present modalities -> what logits are divided by.  extra: anything JSON-able (seed, corpus, card figures).
    """

    config: CSSConfig
    state: dict[str, Tensor]
    normaliser: Normaliser
    fingerprints: dict[str, Any] | None
    log_prior: np.ndarray
    temperatures: dict[str, float] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    def model(self) -> CSS:
        """The model in evaluation mode, with weights of its own."""
        with torch.device("meta"):  # no time for random starts
            model = CSS(self.config)
        model.load_state_dict(
            {name: tensor.clone() for name, tensor in self.state.items()}, assign=True
        )
        return model.eval()


def save_checkpoint(path: Path, checkpoint: Checkpoint, half: bool = False) -> None:
    """Write atomically.  half: weights as float16 (half the size); statistics stay float32, IS10 exceeds float16."""
    kind = torch.float16 if half else torch.float32
    tensors = {
        f"model.{name}": tensor.detach().cpu().to(kind).contiguous()
        for name, tensor in checkpoint.state.items()
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
    text = json.dumps(header, sort_keys=True, ensure_ascii=False, allow_nan=False)
    data = save(tensors, metadata={"merc": text})
    path = Path(path)
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
    """Read and check everything.  OSError for an unreadable file; ValueError, naming it, for anything malformed."""
    path = Path(path)
    with open(path, "rb") as file:  # an absent file or a folder: Python's own error
        size = int.from_bytes(file.read(8), "little")
    if size > min(path.stat().st_size, 64 << 20):
        raise ValueError(f"{path} is not a model of merc: its header claims {size} bytes")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if "merc" not in metadata:
                raise ValueError("its header has no entry 'merc'")
            header = json.loads(metadata["merc"], parse_constant=_refuse)
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
            config = _check(header, shapes)
            tensors = {name: file.get_tensor(name) for name in shapes}
        return _assemble(header, config, tensors)
    except (SafetensorError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} is not a usable model of merc: {error}. Train it again, or take another copy."
        ) from error


def _check(header: Any, shapes: dict[str, tuple[int, ...]]) -> CSSConfig:
    """Dimensions that agree with the tensors in the file, found before anything of their size is allocated."""
    if (
        not isinstance(header, dict)
        or set(header) != _FIELDS
        or not isinstance(header["config"], dict)
    ):
        raise ValueError("its header lacks a part, or has one more than this version of merc knows")
    if header["format"] != FORMAT:
        raise ValueError(f"its format is {header['format']!r}; this version of merc reads {FORMAT}")
    config = CSSConfig.from_dict(header["config"])
    with torch.device("meta"):
        expected = {
            f"model.{name}": tuple(tensor.shape)
            for name, tensor in CSS(config).state_dict().items()
        }
    expected["log_prior"] = (len(config.labels),)
    found = {name: shape for name, shape in shapes.items() if not name.startswith("normaliser.")}
    if found != expected:
        wrong = sorted(
            name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name)
        )
        raise ValueError(f"its tensors do not fit its dimensions: {', '.join(wrong[:5])}")
    widths = dict(config.widths)
    for name, shape in shapes.items():
        modality = name.split(".")[-1]
        if name.startswith("normaliser.") and modality in widths and shape != (widths[modality],):
            raise ValueError(
                f"its statistics {name} have shape {shape}, its features {widths[modality]} values"
            )
    return config


def _assemble(header: dict[str, Any], config: CSSConfig, tensors: dict[str, Tensor]) -> Checkpoint:
    for name, tensor in tensors.items():
        if tensor.dtype not in (torch.float32, torch.float16) or not bool(
            torch.isfinite(tensor).all()
        ):
            raise ValueError(f"its tensor {name} is not of finite float16 or float32 values")
    temperatures, fingerprints, normaliser = (
        header[name] for name in ("temperatures", "fingerprints", "normaliser")
    )
    if not isinstance(temperatures, dict) or not all(
        _positive(value) for value in temperatures.values()
    ):
        raise ValueError("its temperatures are not positive numbers")
    if not (fingerprints is None or isinstance(fingerprints, dict)) or not isinstance(
        header["extra"], dict
    ):
        raise ValueError("its fingerprints or extra entries are malformed")
    if (
        not isinstance(normaliser, dict)
        or not isinstance(normaliser.get("method"), str | dict)
        or not _positive(normaliser.get("pseudo"))
    ):
        raise ValueError("its normaliser is malformed")
    statistics = {
        name.removeprefix("normaliser."): tensor.numpy()
        for name, tensor in tensors.items()
        if name.startswith("normaliser.")
    }
    state = {
        name.removeprefix("model."): tensor.float()
        for name, tensor in tensors.items()
        if name.startswith("model.")
    }
    return Checkpoint(
        config,
        state,
        Normaliser.from_parts(normaliser, statistics),
        fingerprints,
        tensors["log_prior"].numpy(),
        {name: float(value) for name, value in temperatures.items()},
        header["extra"],
    )


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _refuse(name: str) -> Any:
    raise ValueError(f"its header holds the number {name}")
