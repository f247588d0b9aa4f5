"""The file format of the face network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from pipeline.core.errors import MercError
from pipeline.core.schemas import FaceNetAbout, parse_json

__all__ = [
    "DIM",
    "EMOTIONS",
    "FaceNetConfig",
    "read_face_weights",
    "unusable_weights",
]

REMEDY = "train them with `merc pretrain visual`"
DIM = 342
# FER+ order (Barsoum et al. 2016, ICMI)
EMOTIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")


@dataclass(frozen=True)
class FaceNetConfig:
    """What rebuilds the network."""

    size: int = 64  # side of the input, pixels
    mean: float = 0.5  # grey levels of the training set, 0 to 1
    std: float = 0.25


def read_face_weights(path: Path) -> tuple[FaceNetConfig, dict[str, np.ndarray]]:
    """Read a file written by `merc pretrain visual`: its configuration and its arrays by name.

    Raises MercError if the file is none.
    """
    try:
        with safe_open(path, "np") as file:
            header = (file.metadata() or {}).get("merc", "")
            about = parse_json(header, FaceNetAbout, f"{path}: its header", REMEDY)
            return FaceNetConfig(**about), {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise unusable_weights(path, error) from error


def unusable_weights(path: Path, reason: object) -> MercError:
    """Return the error for a file whose arrays are not those of the face network."""
    return MercError(f"{path}: not the weights of merc's face network ({reason})", REMEDY)
