"""Keep features independent of the device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["full_precision"]


@contextmanager
def full_precision() -> Iterator[None]:
    """Run the block without TensorFloat-32, which rounds the inputs of products to 10 bits.

    torch uses it by default for convolutions on NVIDIA GPUs from Ampere on. A fingerprint does not
    name the device, so features of a GPU must equal those of a CPU, up to the order of sums.

    >>> with full_precision():
    ...     torch.backends.cudnn.conv.fp32_precision
    'ieee'
    """
    torch_backends: Any = torch.backends  # its stubs lack the submodules
    backends = (torch_backends.cudnn.conv, torch_backends.cuda.matmul)
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision
