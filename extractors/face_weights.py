"""The file format of the face network, and the input that the network takes.

Apart from the network's layers, so that whoever only reads faces need not import timm, which takes
two seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pipeline.core.errors import MercError
from pipeline.core.schemas import FaceNetAbout, parse_json

__all__ = [
    "DIM",
    "EMOTIONS",
    "FaceNetConfig",
    "prepare_faces",
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


def read_face_weights(path: Path) -> tuple[FaceNetConfig, dict[str, Tensor]]:
    """Read a file written by `merc pretrain visual`: its configuration and its arrays by name.

    Raises MercError if the file is none.
    """
    try:
        with safe_open(path, "pt") as file:
            header = (file.metadata() or {}).get("merc", "")
            about = parse_json(header, FaceNetAbout, f"{path}: its header", REMEDY)
            return FaceNetConfig(**about), {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise unusable_weights(path, error) from error


def unusable_weights(path: Path, reason: object) -> MercError:
    """Return the error for a file whose arrays are not those of the face network."""
    return MercError(f"{path}: not the weights of merc's face network ({reason})", REMEDY)


def prepare_faces(faces: Tensor, config: FaceNetConfig, size: int | None = None) -> Tensor:
    """Resize and normalise (n, h, w) uint8 grey faces to (n, 1, size, size) float32."""
    side = size or config.size
    images = faces.unsqueeze(1).float() / 255
    if images.shape[-2:] != (side, side):
        images = F.interpolate(
            images, (side, side), mode="bilinear", align_corners=False, antialias=True
        )
    images = (images - config.mean) / config.std
    return images.contiguous(memory_format=torch.channels_last)
