"""A trained model in one safetensors file.

It holds weights, dimensions, statistics of the features, fingerprints and priors. The header has a
single metadata entry, `merc`, of sorted JSON: safetensors writes several entries in random order,
and the same model must give the same bytes.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from css_model.config import BaseConfig
from css_model.interface import EmotionModel
from css_model.no_values import without_values
from css_model.normalise import Normaliser
from css_model.registry import config_class, make_model

__all__ = ["Checkpoint", "load_checkpoint", "save_checkpoint"]

FORMAT = 1
MAX_HEADER = 64 << 20  # bytes
LEAST, MOST = 1e-6, 1e6  # a temperature, or number of utterances, outside makes probabilities NaN
_FIELDS = {"format", "config", "normaliser", "fingerprints", "temperatures", "extra"}


@dataclass
class Checkpoint:
    """All that a trained model consists of.

    config: of CSS or of a comparison model. state: of `make_model(config)`, float32.
    fingerprints: modality -> what made its features; None if unknown.
    log_prior: (c,), log of the label distribution in training.
    temperatures: set of present modalities, such as "text+audio+visual" -> what divides the logits.
    extra: anything JSON-able, such as seed, corpus and metrics.
    """

    config: BaseConfig
    state: dict[str, Tensor]
    normaliser: Normaliser
    fingerprints: dict[str, Any] | None
    log_prior: np.ndarray
    temperatures: dict[str, float] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    def model(self) -> EmotionModel:
        """Return a new model in evaluation mode, with a copy of the weights."""
        with without_values():
            model = make_model(self.config)
        state = {name: tensor.clone() for name, tensor in self.state.items()}
        model.load_state_dict(state, assign=True)
        return model.eval()


def save_checkpoint(path: Path, checkpoint: Checkpoint, half: bool = False) -> None:
    """Write a checkpoint atomically.

    half: store weights as float16, which halves the file. Statistics remain float32, because values
    of IS10 exceed float16.

    Raises ValueError if `half` and a weight exceeds float16, OSError if writing fails.
    """
    dtype = torch.float16 if half else torch.float32
    tensors = {
        f"model.{name}": tensor.detach().cpu().to(dtype).contiguous()
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
    path = Path(path)
    with open(path, "rb") as file:  # Python's error for a missing file or a folder
        size = int.from_bytes(file.read(8), "little")
    if size > min(path.stat().st_size, MAX_HEADER):
        raise ValueError(f"{path} is not a model of merc: its header claims {size} bytes")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if "merc" not in metadata:
                raise ValueError("its header has no entry 'merc'")
            header = json.loads(metadata["merc"], parse_constant=_refuse_constant)
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
            config = _check_shapes(header, shapes)
            tensors = {name: file.get_tensor(name) for name in shapes}
        return _assemble(header, config, tensors)
    except (SafetensorError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(
            f"{path} is not a usable model of merc: {error}. Train it again, or use another copy."
        ) from error


def _check_shapes(header: Any, shapes: dict[str, tuple[int, ...]]) -> BaseConfig:
    """Check that the dimensions agree with the tensors, before anything of their size is allocated.

    shapes: name of a tensor -> its shape in the file.
    """
    if not isinstance(header, dict) or set(header) - {"model"} != _FIELDS:
        raise ValueError("its header has missing or unknown fields")
    if not isinstance(header["config"], dict):
        raise ValueError("its dimensions are malformed")
    if header["format"] != FORMAT:
        raise ValueError(f"its format is {header['format']!r}; this version of merc reads {FORMAT}")
    config = _config(header.get("model", "css"), header["config"])
    with without_values():
        state = make_model(config).state_dict()
    expected = {f"model.{name}": tuple(tensor.shape) for name, tensor in state.items()}
    expected["log_prior"] = (len(config.labels),)
    actual = {name: shape for name, shape in shapes.items() if not name.startswith("normaliser.")}
    if actual != expected:
        names = actual.keys() | expected.keys()
        wrong = sorted(name for name in names if actual.get(name) != expected.get(name))
        raise ValueError(f"its tensors do not fit its dimensions: {', '.join(wrong[:5])}")
    widths = dict(config.widths)
    for name, shape in shapes.items():
        modality = name.split(".")[-1]
        # a matrix (erased directions) has as many columns
        statistics = name.startswith("normaliser.") and modality in widths
        if statistics and shape[-1:] != (widths[modality],):
            raise ValueError(
                f"its statistics {name} have shape {shape}, its features {widths[modality]} values"
            )
    return config


def _config(model: Any, values: dict[str, Any]) -> BaseConfig:
    if not isinstance(model, str):
        raise ValueError("the name of its model is malformed")
    return config_class(model).from_dict(values)


def _assemble(header: dict[str, Any], config: BaseConfig, tensors: dict[str, Tensor]) -> Checkpoint:
    for name, tensor in tensors.items():
        is_float = tensor.dtype in (torch.float32, torch.float16)
        if not is_float or not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"its tensor {name} is not of finite float16 or float32 values")
    _check_header(header, config)
    return Checkpoint(
        config,
        {name: tensor.float() for name, tensor in _under("model.", tensors).items()},
        Normaliser.from_parts(
            header["normaliser"],
            {name: tensor.numpy() for name, tensor in _under("normaliser.", tensors).items()},
        ),
        header["fingerprints"],
        tensors["log_prior"].numpy(),
        {name: float(value) for name, value in header["temperatures"].items()},
        header["extra"],
    )


def _check_header(header: dict[str, Any], config: BaseConfig) -> None:
    temperatures, normaliser = header["temperatures"], header["normaliser"]
    if not isinstance(temperatures, dict) or not all(map(_positive, temperatures.values())):
        raise ValueError("its temperatures are not positive numbers")
    for name in temperatures:
        if not set(name.split("+")) <= set(config.modalities):
            raise ValueError(f"it has a temperature for {name[:80]!r}, which is no modality")
    _check_fingerprints(header["fingerprints"], config)
    if not isinstance(header["extra"], dict):
        raise ValueError("its extra entries are malformed")
    if (
        not isinstance(normaliser, dict)
        or not isinstance(normaliser.get("method"), str | dict)
        or not _positive(normaliser.get("pseudo"))
    ):
        raise ValueError("its normaliser is malformed")
    inputs = normaliser.get("inputs", {})
    if not isinstance(inputs, dict) or not all(map(_positive, inputs.values())):
        raise ValueError("its widths before the selection of columns are malformed")


def _check_fingerprints(fingerprints: Any, config: BaseConfig) -> None:
    """Raise ValueError unless each modality has an object, whose options are one too."""
    if fingerprints is None:
        return
    if not isinstance(fingerprints, dict):
        raise ValueError("its fingerprints are malformed")
    for modality, fingerprint in fingerprints.items():
        if modality not in config.modalities:
            raise ValueError(f"it has a fingerprint of {modality[:80]!r}, which it does not use")
        if (
            not isinstance(fingerprint, dict)
            or not isinstance(fingerprint.get("options", {}), dict)
            or not isinstance(fingerprint.get("extractor", ""), str)
        ):
            raise ValueError(f"its fingerprint of {modality} is malformed")


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Select the tensors whose names begin with a prefix, which is removed."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _positive(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and LEAST <= value <= MOST  # type: ignore[operator]


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"its header holds the number {name}")
