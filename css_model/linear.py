"""Linear layers whose calls can be recorded, to take weight gradients apart from the backward pass.

The gradient of a weight is D^T x, where x is the input of the layer and D the gradient of a loss
with respect to its output. `css_model.sketch` needs both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

__all__ = ["Call", "Linear", "recorded_calls"]


@dataclass(frozen=True)
class Call:
    """One use of a linear layer.

    weight: (out, in). input: (N, in), detached. output: where autograd has the gradient (N, out).
    """

    weight: Tensor
    input: Tensor
    output: GradientEdge  # not the tensor, which would stay in memory


_calls: ContextVar[list[Call] | None] = ContextVar("calls", default=None)


@contextmanager
def recorded_calls() -> Iterator[list[Call]]:
    """Collect the calls of all `Linear` layers whose weight autograd differentiates.

    >>> with recorded_calls() as calls:
    ...     _ = Linear(3, 2)(torch.randn(4, 3))
    >>> calls[0].input.shape
    torch.Size([4, 3])
    """
    calls: list[Call] = []
    token = _calls.set(calls)
    try:
        yield calls
    finally:
        _calls.reset(token)


class Linear(nn.Linear):
    """`torch.nn.Linear` for inputs (N, in), known to `recorded_calls`."""

    def forward(self, input: Tensor) -> Tensor:
        output = super().forward(input)
        calls = _calls.get()
        if calls is not None and torch.is_grad_enabled() and self.weight.requires_grad:
            calls.append(Call(self.weight, input.detach(), get_gradient_edge(output)))
        return output
