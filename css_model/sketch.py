"""Sketches of weight gradients: inner products of gradients without the gradients.

PGM needs the gradients of the single losses only for a Gram matrix. With D_i, the gradient of loss
i with respect to a layer's output, and x, the layer's input, the gradient of its weight is D_i^T x.
Adding up the columns of D_i and x in a few groups, with random signs, makes that product cheap and
keeps inner products in expectation (count sketch: Charikar, Chen and Farach-Colton 2002, here on
both sides of a matrix). The step itself needs one exact product, (Σ γ_i D_i)^T x.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from css_model.fusion import wide
from css_model.linear import Call, Linear
from css_model.model import CSS

__all__ = ["WIDTH", "SketchedLayer", "TrunkGradients", "sketched_layers"]

WIDTH = 128  # columns after folding
# In the projection of eq. 6, this times as many: its gradients have more than half of the squared
# norm and nearly rank one, which a narrow sketch measures badly.
LAST = 4


class SketchedLayer:
    """A weight (out, in) and the random signs that fold both of its sides to `width` columns.

    The signs depend on `seed` alone: they are the same in every step and on every rank.

    Raises ValueError for a width below 1.
    """

    def __init__(self, weight: Tensor, seed: int, width: int = WIDTH) -> None:
        if width < 1:
            raise ValueError(f"the width of a sketch must be at least 1, not {width}")
        self.weight, self.width = weight, width
        generator = torch.Generator().manual_seed(seed)
        self.signs = [
            torch.randint(0, 2, (size,), generator=generator) * 2.0 - 1 for size in weight.shape
        ]

    def fold(self, rows: Tensor, side: int) -> Tensor:
        """Map (N, k) to (N, width), or to (N, k) if that is less; float32 or wider.

        side: 0 for gradients of the output, 1 for inputs.
        """
        rows = wide(rows)
        if rows.shape[1] <= self.width:
            return rows
        signs = self.signs[side] = self.signs[side].to(rows)
        # column j goes to column j % width
        first, *others = zip(rows.split(self.width, 1), signs.split(self.width), strict=True)
        total = first[0] * first[1]
        for piece, sign in others:
            total[:, : len(sign)].addcmul_(piece, sign)
        return total

    def sketch(self, gradients: Sequence[Tensor], folded: Sequence[Tensor]) -> Tensor:
        """Return the sketch of the weight's gradient, at most (width, width).

        gradients: of the outputs of all calls of the layer. folded: their inputs, folded.
        """
        shape = [min(size, self.width) for size in self.weight.shape]
        total = torch.zeros(shape, dtype=wide(self.weight).dtype, device=self.weight.device)
        with torch.autocast(self.weight.device.type, enabled=False):
            for gradient, rows in zip(gradients, folded, strict=True):
                total += self.fold(gradient, 0).T @ rows
        return total


def sketched_layers(model: CSS, width: int = WIDTH) -> list[SketchedLayer]:
    """Return the layers of the trunk whose weight is more than four times as large as its sketch.

    This does not depend on the batch, so that all ranks exchange the same tensors.
    """
    last = {id(module) for module in model.encoder.output.modules()}
    layers = []
    for seed, module in enumerate(model.encoder.modules()):
        if isinstance(module, Linear) and module.weight.requires_grad:
            own = width * LAST if id(module) in last else width
            if module.weight.numel() > 4 * own**2:
                layers.append(SketchedLayer(module.weight, seed, own))
    return layers


class TrunkGradients:
    """The gradients of several losses on the trunk; those of wide layers only as sketches.

    layers: what to sketch. rest: the other parameters. calls: of the layers, from the forward pass.

    compared: for every loss, its gradients of `rest` and the sketches of `layers`.
    """

    def __init__(
        self, layers: Sequence[SketchedLayer], rest: Sequence[Tensor], calls: Sequence[Call]
    ) -> None:
        self.layers, self.rest = layers, list(rest)
        self.calls = [[call for call in calls if call.weight is layer.weight] for layer in layers]
        self.edges = [call.output for of_layer in self.calls for call in of_layer]
        self.folded = [
            [layer.fold(call.input, 1) for call in of_layer]
            for layer, of_layer in zip(layers, self.calls, strict=True)
        ]
        self.compared: list[list[Tensor]] = []
        self._at_outputs: list[list[list[Tensor]]] = []  # loss, layer, call

    def add(self, outputs: Sequence[Tensor], at: Sequence[Tensor], retain: bool) -> None:
        """Add a loss, whose gradients with respect to the trunk's outputs are `at`."""
        inputs = self.edges + [get_gradient_edge(parameter) for parameter in self.rest]
        gradients: Sequence[Tensor | None] = [None] * len(inputs)
        if any(output.requires_grad for output in outputs):
            gradients = torch.autograd.grad(
                list(outputs), inputs, grad_outputs=list(at), retain_graph=retain, allow_unused=True
            )
        found = iter(gradients)
        at_outputs = []
        for of_layer in self.calls:
            pairs = [(call, next(found)) for call in of_layer]
            at_outputs.append(
                [
                    call.input.new_zeros(len(call.input), len(call.weight)) if d is None else d
                    for call, d in pairs
                ]
            )
        rest = [
            torch.zeros_like(parameter) if gradient is None else gradient
            for parameter, gradient in zip(self.rest, found, strict=True)
        ]
        sketches = [
            layer.sketch(*pair)
            for layer, *pair in zip(self.layers, at_outputs, self.folded, strict=True)
        ]
        self._at_outputs.append(at_outputs)
        self.compared.append(rest + sketches)

    def combine_layers(self, factors: Sequence[float]) -> list[Tensor]:
        """Return the exact gradient of Σ factor_i loss_i for the weights of `layers`.

        Call it once: it frees the gradients of the outputs as it goes.
        """
        combined = []
        for number, (layer, calls) in enumerate(zip(self.layers, self.calls, strict=True)):
            per_loss = [at_outputs[number] for at_outputs in self._at_outputs]
            total: Tensor | None = None
            for n, call in enumerate(calls):
                rows = wide(per_loss[0][n]) * factors[0]
                for factor, of_loss in zip(factors[1:], per_loss[1:], strict=True):
                    rows.add_(of_loss[n], alpha=factor)
                dtype = per_loss[0][n].dtype  # half precision under autocast, as autograd does it
                product = (rows.to(dtype).T @ call.input.to(dtype)).to(layer.weight.dtype)
                total = product if total is None else total.add_(product)
            combined.append(torch.zeros_like(layer.weight) if total is None else total)
            for of_loss in per_loss:
                of_loss.clear()
        return combined
