"""Build a model without values, to look at its dimensions or to load a state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["without_values"]


@contextmanager
def without_values() -> Iterator[None]:
    """Let modules that the block builds have parameters of the right shapes without any values.

    >>> with without_values():
    ...     torch.nn.Embedding(2, 3).weight.is_meta
    True
    """
    with torch.device("meta"), _NoNormals():
        yield


class _NoNormals(TorchFunctionMode):
    """Leave out normal random numbers and their scale.

    torch computes them through its compiler if they have no device, and to import that takes two
    seconds and 160 MB.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.nn.init.normal_:
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        if func is torch.randn:
            return torch.empty(*args, **kwargs)
        scaled = func in (torch.Tensor.mul, torch.Tensor.__mul__) and len(args) == 2
        if scaled and isinstance(args[0], torch.Tensor) and isinstance(args[1], float):
            return args[0]
        return func(*args, **kwargs)
