"""The face network: DenseNet-BC on FER+, whose last pooled layer is the 342-d visual feature.

Growth 12, three blocks of 16 layers, compression one half, grey input:
(24 + 192) / 2 = 108, (108 + 192) / 2 = 150, 150 + 192 = 342 channels (Huang et al. 2017, CVPR;
the 342-d visual features of MMGCN and its successors).  Weights: `merc pretrain visual`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save
from timm.models.densenet import DenseBlock, DenseNet
from torch import Tensor, nn

__all__ = [
    "DIM",
    "EMOTIONS",
    "FaceNet",
    "FaceNetConfig",
    "fold_norms",
    "load_face_net",
    "pack_face_net",
]

DIM = 342
# FER+ order (Barsoum et al. 2016, ICMI)
EMOTIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")


@dataclass(frozen=True)
class FaceNetConfig:
    """What rebuilds the network: input side in pixels and grey-level statistics (0..1) of its training set."""

    size: int = 64
    mean: float = 0.5
    std: float = 0.25


class FaceNet(nn.Module):
    """Faces to 342 features and 8 FER+ logits."""

    def __init__(self, config: FaceNetConfig) -> None:
        super().__init__()
        self.config = config
        net = DenseNet(
            growth_rate=12,
            block_config=(16, 16, 16),
            num_classes=len(EMOTIONS),
            in_chans=1,
            bn_size=4,
        )
        # the 7x7 stride-4 stem of ImageNet would leave 2x2 maps of a 48-pixel face
        net.features.conv0 = nn.Conv2d(1, 24, 3, stride=2, padding=1, bias=False)
        net.features.norm0 = nn.Identity()
        net.features.pool0 = nn.Identity()
        for block in net.features.children():
            if isinstance(block, DenseBlock):
                block.__class__ = _RunningBlock
        self.net = net.to(memory_format=torch.channels_last)

    def prepare(self, faces: Tensor, size: int | None = None) -> Tensor:
        """(n, h, w) uint8 grey faces to the normalised network input (n, 1, size, size) float32."""
        side = size or self.config.size
        images = faces.unsqueeze(1).float() / 255
        if images.shape[-2:] != (side, side):
            images = F.interpolate(
                images, (side, side), mode="bilinear", align_corners=False, antialias=True
            )
        images = (images - self.config.mean) / self.config.std
        return images.contiguous(memory_format=torch.channels_last)

    def features(self, images: Tensor) -> Tensor:
        """Normalised images to (n, 342), all at least 0 (pooled after the last ReLU)."""
        return self.net.forward_features(images).mean((2, 3))

    def head(self, features: Tensor) -> Tensor:
        """(n, 342) to (n, 8) FER+ logits; linear, so the head of a mean is the mean of the heads."""
        return self.net.classifier(features)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


class _RunningBlock(DenseBlock):
    """timm's dense block with one growing tensor: the backward pass adds whole tensors, not slices (1.2x)."""

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.values():
            x = torch.cat([x, layer(x)], 1)
        return x


def pack_face_net(net: FaceNet) -> bytes:
    """The bytes of a safetensors file; its header holds the configuration as sorted JSON."""
    state = {
        name: value.contiguous()
        for name, value in net.state_dict().items()
        if "num_batches" not in name
    }
    return save(state, {"merc": json.dumps(asdict(net.config), sort_keys=True)})


def load_face_net(path: Path) -> FaceNet:
    """Read weights written by `merc pretrain visual`.

    Raises ValueError when the file is not such weights.
    """
    try:
        with safe_open(path, "pt") as file:
            config = FaceNetConfig(**json.loads((file.metadata() or {})["merc"]))
            state = {name: file.get_tensor(name) for name in file.keys()}
        net = FaceNet(config)
        missing = net.load_state_dict(state, strict=False)
    except (KeyError, TypeError, RuntimeError, OSError, ValueError) as error:
        raise ValueError(
            f"{path}: not the weights of merc's face network ({error}); make them with "
            "`merc pretrain visual`"
        ) from error
    lost = [name for name in missing.missing_keys if "num_batches" not in name]
    if lost or missing.unexpected_keys:
        raise ValueError(
            f"{path}: not the weights of merc's face network (missing {lost[:3]}, "
            f"unexpected {missing.unexpected_keys[:3]})"
        )
    return net.eval()


def fold_norms(net: FaceNet) -> FaceNet:
    """Each layer's second norm into the 1x1 convolution before it, in place: same values to 1e-6, 1.5x as fast.

    For inference only; the first norm stands before a ReLU and stays.
    """
    features: Any = net.net.features
    for block in features.children():
        for layer in block.values() if isinstance(block, DenseBlock) else ():
            norm: Any = layer.norm2
            old: Any = layer.conv1
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            conv = nn.Conv2d(old.in_channels, old.out_channels, 1)
            conv.weight = nn.Parameter((old.weight * scale[:, None, None, None]).detach())
            conv.bias = nn.Parameter((norm.bias - norm.running_mean * scale).detach())
            layer.conv1, layer.norm2 = (
                conv.to(memory_format=torch.channels_last),
                nn.ReLU(inplace=True),
            )
    return net.eval()
