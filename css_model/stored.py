"""What a trained model consists of, and how a file holds it. Nothing here needs torch.

A checkpoint is one safetensors file with weights, dimensions, statistics of the features,
fingerprints and priors. The header has a single metadata entry, `merc`, of sorted JSON: safetensors
writes several entries in random order, and the same model must give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open

from css_model.config import BaseConfig, CSSConfig
from css_model.normalise import Normaliser

if TYPE_CHECKING:
    from css_model.interface import EmotionModel

__all__ = ["FORMAT", "Checkpoint", "Shapes", "read_checkpoint"]

FORMAT = 1
MAX_HEADER = 64 << 20  # bytes
LEAST, MOST = 1e-6, 1e6  # a temperature, or number of utterances, outside makes probabilities NaN
_FIELDS = {"format", "config", "normaliser", "fingerprints", "temperatures", "extra"}
Shapes = dict[str, tuple[int, ...]]  # by the name of a tensor


@dataclass
class Checkpoint:
    """All that a trained model consists of.

    config: of CSS or of a comparison model. state: of `make_model(config)`, float32; torch tensors,
    or numpy arrays if `read_checkpoint` read them.
    fingerprints: modality -> what made its features; None if unknown.
    log_prior: (c,), log of the label distribution in training.
    temperatures: set of present modalities, such as "text+audio+visual" -> what divides the logits.
    extra: anything JSON-able, such as seed, corpus and metrics.
    """

    config: BaseConfig
    state: dict[str, Any]
    normaliser: Normaliser
    fingerprints: dict[str, Any] | None
    log_prior: np.ndarray
    temperatures: dict[str, float] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    def model(self) -> EmotionModel:
        """Return a new model in evaluation mode, with a copy of the weights."""
        import torch

        from css_model.no_values import without_values
        from css_model.registry import make_model

        with without_values():
            model = make_model(self.config)
        state = {name: torch.as_tensor(values).clone() for name, values in self.state.items()}
        model.load_state_dict(state, assign=True)
        return model.eval()


def read_checkpoint(
    path: Path, shapes_of: Callable[[BaseConfig], Shapes] | None = None
) -> Checkpoint:
    """Read a checkpoint and check all of it. Its state holds numpy arrays.

    shapes_of: returns the shapes of a model's state. With it, they are compared with the file's
        before anything of their size is allocated; without it, whoever builds the model compares.

    Raises OSError if the file cannot be read, ValueError with its name if it is malformed.
    """
    path = Path(path)
    with open(path, "rb") as file:  # Python's error for a missing file or a folder
        size = int.from_bytes(file.read(8), "little")
    if size > min(path.stat().st_size, MAX_HEADER):
        raise ValueError(f"{path} is not a model of merc: its header claims {size} bytes")
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            if "merc" not in metadata:
                raise ValueError("its header has no entry 'merc'")
            header = json.loads(metadata["merc"], parse_constant=_refuse_constant)
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
            config = _config(header)
            _check_shapes(config, shapes, shapes_of)
            arrays = {name: _array(file, name) for name in shapes}
        return _assemble(header, config, arrays)
    except (SafetensorError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(
            f"{path} is not a usable model of merc: {error}. Train it again, or use another copy."
        ) from error


def _config(header: Any) -> BaseConfig:
    """Return the dimensions; check that the header has all fields."""
    if not isinstance(header, dict) or set(header) - {"model"} != _FIELDS:
        raise ValueError("its header has missing or unknown fields")
    if not isinstance(header["config"], dict):
        raise ValueError("its dimensions are malformed")
    if header["format"] != FORMAT:
        raise ValueError(f"its format is {header['format']!r}; this version of merc reads {FORMAT}")
    model = header.get("model", CSSConfig.MODEL)
    if not isinstance(model, str):
        raise ValueError("the name of its model is malformed")
    if model == CSSConfig.MODEL:
        return CSSConfig.from_dict(header["config"])
    from css_model.registry import config_class  # needs torch

    return config_class(model).from_dict(header["config"])


def _check_shapes(
    config: BaseConfig, shapes: Shapes, shapes_of: Callable[[BaseConfig], Shapes] | None
) -> None:
    """Check that the dimensions agree with the tensors in the file."""
    actual = {name: shape for name, shape in shapes.items() if not name.startswith("normaliser.")}
    if shapes_of is not None:
        expected = {f"model.{name}": shape for name, shape in shapes_of(config).items()}
    else:
        expected = {name: shape for name, shape in actual.items() if name.startswith("model.")}
    expected["log_prior"] = (len(config.labels),)
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


def _array(file: Any, name: str) -> np.ndarray:
    """Read a tensor, float16 or float32, and check its values."""
    array = file.get_tensor(name) if file.get_slice(name).get_dtype() in ("F16", "F32") else None
    if array is None or not np.isfinite(array).all():
        raise ValueError(f"its tensor {name} is not of finite float16 or float32 values")
    return array


def _assemble(
    header: dict[str, Any], config: BaseConfig, arrays: dict[str, np.ndarray]
) -> Checkpoint:
    _check_header(header, config)
    state = {name: a.astype(np.float32, copy=False) for name, a in _under("model.", arrays).items()}
    return Checkpoint(
        config,
        state,
        Normaliser.from_parts(header["normaliser"], _under("normaliser.", arrays)),
        header["fingerprints"],
        arrays["log_prior"],
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


def _under(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Select the arrays whose names begin with a prefix, which is removed."""
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def _positive(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and LEAST <= value <= MOST  # type: ignore[operator]


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"its header holds the number {name}")
