"""The face network: a DenseNet-BC trained on FER+. Its pooled last layer is the visual feature.

Growth rate 12, three blocks of 16 layers, compression 0.5, grey input. This gives
(24 + 192) / 2 = 108, (108 + 192) / 2 = 150, 150 + 192 = 342 channels (Huang et al. 2017, CVPR),
the 342-d visual features of MMGCN and its successors. `merc pretrain visual` trains the weights.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save
from timm.models.densenet import DenseBlock, DenseNet
from torch import Tensor, nn

from extractors.face_weights import (
    DIM,
    EMOTIONS,
    FaceNetConfig,
    read_face_weights,
    unusable_weights,
)
from extractors.precision import full_precision

__all__ = [
    "DIM",
    "EMOTIONS",
    "FaceNet",
    "FaceNetConfig",
    "FaceNetOnDevice",
    "load_face_net",
    "pack_face_net",
]


class FaceNet(nn.Module):
    """Map faces to 342 features and 8 FER+ logits."""

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
        # ImageNet's stem (7x7, stride 4) would reduce a 48-pixel face to 2x2
        net.features.conv0 = nn.Conv2d(1, 24, 3, stride=2, padding=1, bias=False)
        net.features.norm0 = nn.Identity()
        net.features.pool0 = nn.Identity()
        for block in net.features.children():
            if isinstance(block, DenseBlock):
                block.__class__ = _RunningBlock
        self.net = net.to(memory_format=torch.channels_last)

    def prepare(self, faces: Tensor, size: int | None = None) -> Tensor:
        """Resize and normalise (n, h, w) uint8 grey faces to (n, 1, size, size) float32."""
        side = size or self.config.size
        images = faces.unsqueeze(1).float() / 255
        if images.shape[-2:] != (side, side):
            images = F.interpolate(
                images, (side, side), mode="bilinear", align_corners=False, antialias=True
            )
        images = (images - self.config.mean) / self.config.std
        return images.contiguous(memory_format=torch.channels_last)

    def features(self, images: Tensor) -> Tensor:
        """Return the (n, 342) features of prepared images, pooled after the last ReLU."""
        return self.net.forward_features(images).mean((2, 3))

    def head(self, features: Tensor) -> Tensor:
        """Return the (n, 8) FER+ logits of (n, 342) features.

        The head is linear: the logits of a mean are the mean of the logits.
        """
        return self.net.classifier(features)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


class _RunningBlock(DenseBlock):
    """timm's dense block with one growing tensor.

    Its backward pass adds whole tensors instead of slices, which is 1.2 times as fast.
    """

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.values():
            x = torch.cat([x, layer(x)], 1)
        return x


def pack_face_net(net: FaceNet) -> bytes:
    """Return the bytes of a safetensors file. Its header holds the configuration as JSON."""
    state = {
        name: value.contiguous()
        for name, value in net.state_dict().items()
        if "num_batches" not in name
    }
    return save(state, {"merc": json.dumps(asdict(net.config), sort_keys=True)})


def load_face_net(path: Path) -> FaceNet:
    """Read weights written by `merc pretrain visual`, in evaluation mode.

    Raises MercError if the file holds no such weights.
    """
    config, arrays = read_face_weights(path)
    state = {name: torch.from_numpy(value) for name, value in arrays.items()}
    net = FaceNet(config)
    try:
        keys = net.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise unusable_weights(path, error) from error
    missing = [name for name in keys.missing_keys if "num_batches" not in name]
    if missing or keys.unexpected_keys:
        raise unusable_weights(
            path, f"missing {missing[:3]}, unexpected {keys.unexpected_keys[:3]}"
        )
    return net.eval()


class FaceNetOnDevice:
    """The network on a GPU, called as `face_network.FaceNetwork` is."""

    def __init__(self, path: Path, device: str) -> None:
        self.device, self._net = device, load_face_net(path).to(device)

    @torch.inference_mode()
    def features(self, faces: np.ndarray) -> np.ndarray:
        """Return (n, 342) float32 features of (n, h, w) uint8 grey faces."""
        images = self._net.prepare(torch.from_numpy(np.ascontiguousarray(faces)).to(self.device))
        with full_precision():
            return self._net.features(images).cpu().numpy()

    @torch.inference_mode()
    def emotions(self, features: np.ndarray) -> np.ndarray:
        """Return (n, 8) probabilities, in FER+ order, of (n, 342) features."""
        rows = torch.from_numpy(features).to(self.device)
        return self._net.head(rows).softmax(1).cpu().numpy()
