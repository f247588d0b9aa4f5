"""Pareto Gradient Modulator, eqs. 14-16: weights of the three losses from the geometry of their gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from css_model.fusion import wide
from css_model.min_norm import min_norm_weights
from css_model.model import CSS, Output

__all__ = ["ParetoGradientModulator", "gram_matrix", "mean_over_ranks", "min_norm_weights"]

NEGLIGIBLE = 1e-6  # a gradient shorter than this share of the longest is dropped, its γ = 0


class ParetoGradientModulator:
    """Sets `.grad` to the gradient of Σ γ_i L_i (eq. 16), γ the minimum-norm point of the unit gradients (eq. 15).

    theta: whose gradients are compared.  `trunk`: all parameters up to the output projection of eq. 6; the three
        gradients are combined, no fourth backward pass.  `last`: that projection alone.  `repr`: h̃ itself; these two
        cost one backward pass through the trunk.
    use: `raw`, γ weighs the raw losses (eq. 16 as printed); `unit`, γ weighs unit gradients rescaled by their mean
        norm, the only form in which no loss rises to first order on θ.
    heads: `scaled`, the fusion and the unimodal heads get the gradient of the weighted sum too, as eq. 16 has it;
        `unscaled`, that of the plain sum (Sener and Koltun 2018).
    objectives: which of L1, L2, L3 take part (the rows "without L2", "without L3"); the others get γ = 0.
    weights: fixed γ instead of a solution ("without PGM"): one ordinary backward pass.
    solve: Gram matrix (k, k) float64 -> weights (k,).  normalise: False hands it the raw gradients' Gram matrix
        (plain MGDA, and the directions of `css_model.directions`).

    Under torch.distributed every rank ends with the gradient that one rank would have had on all of the data.
    """

    def __init__(
        self,
        model: CSS,
        theta: str = "trunk",
        use: str = "raw",
        *,
        heads: str = "scaled",
        objectives: Sequence[int] = (0, 1, 2),
        weights: Sequence[float] | None = None,
        solve: Callable[[Tensor], Tensor] = min_norm_weights,
        normalise: bool = True,
    ) -> None:
        for name, value, allowed in (
            ("theta", theta, ("trunk", "last", "repr")),
            ("use", use, ("raw", "unit")),
            ("heads", heads, ("scaled", "unscaled")),
        ):
            if value not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
        if (
            not objectives
            or not set(objectives) <= {0, 1, 2}
            or len(set(objectives)) != len(objectives)
        ):
            raise ValueError(
                f"objectives must be some of 0, 1, 2, each once, not {tuple(objectives)}"
            )
        if weights is not None and (
            len(weights) != 3 or not all(0 <= w < math.inf for w in weights)
        ):
            raise ValueError(f"weights must be three finite numbers >= 0, not {weights}")
        self.model, self.theta, self.use, self.scale_heads = model, theta, use, heads == "scaled"
        self.objectives, self.weights = tuple(objectives), weights
        self.solve, self.normalise = solve, normalise
        self.trunk: list[Tensor] = [p for p in model.encoder.parameters() if p.requires_grad]
        self.last: list[Tensor] = [p for p in model.encoder.output.parameters() if p.requires_grad]
        inside = {id(p) for p in model.encoder.parameters()}
        self.head: list[Tensor] = [
            p for p in model.parameters() if p.requires_grad and id(p) not in inside
        ]
        self.norms = torch.zeros(3, dtype=torch.float64)  # of the last step's gradients on θ
        self.cosines = torch.zeros(3, 3, dtype=torch.float64)

    def backward(self, losses: Sequence[Tensor], output: Output) -> Tensor:
        """γ (3,) float64; parameters get `.grad`, or None when every gradient is zero (skip the step).

        losses: L1, L2, L3 of `css_model.losses`; output: the forward pass that they came from.
        Raises FloatingPointError when a gradient is not finite.
        """
        shares = _shares(losses)
        if self.weights is not None:
            return self._fixed(
                [weight if i in self.objectives else 0.0 for i, weight in enumerate(self.weights)],
                losses,
                shares,
            )
        hidden = list(output.hidden.values())
        at_hidden, at_head = [], []
        for i in self.objectives:
            gradients = _grad(losses[i] * shares[i], hidden + self.head, retain=True)
            at_hidden.append(gradients[: len(hidden)])
            at_head.append(gradients[len(hidden) :])
        compared = at_hidden
        if self.theta != "repr":
            parameters = self.trunk if self.theta == "trunk" else self.last
            final = len(self.objectives) - 1 if self.theta == "trunk" else -1
            compared = [
                _grad(hidden, parameters, retain=n != final, at=rows)
                for n, rows in enumerate(at_hidden)
            ]
            for gradients in compared:
                _reduce(gradients)
        gram = gram_matrix(compared)
        if self.theta == "repr":
            _reduce([gram])  # of samples that lie on different ranks: inner products add up
        gamma, coefficients = self._weigh(gram.cpu())
        if not any(coefficients):
            self._assign([None] * len(self.trunk), [None] * len(self.head))
            return gamma
        if self.theta == "trunk":
            trunk = _combine(compared, coefficients, in_place=True)
        else:
            trunk = _grad(hidden, self.trunk, retain=False, at=_combine(at_hidden, coefficients))
            _reduce(trunk)
        head = _combine(at_head, coefficients if self.scale_heads else [1.0] * len(coefficients))
        _reduce(head)
        self._assign(trunk, head)
        return gamma

    def _weigh(self, gram: Tensor) -> tuple[Tensor, list[float]]:
        """γ of all three losses, and the factor of each compared gradient."""
        norms = gram.diagonal().sqrt()
        if not bool(torch.isfinite(gram).all()):
            bad = [
                f"L{i + 1}"
                for i, norm in zip(self.objectives, norms.tolist(), strict=True)
                if not math.isfinite(norm)
            ]
            raise FloatingPointError(
                f"the gradient of {', '.join(bad) or 'a loss'} is not finite: lower the learning "
                "rate, or look for features of extreme size"
            )
        index = torch.tensor(self.objectives)
        gamma, self.norms = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
        self.norms[index] = norms
        unit = gram / norms.clamp(min=1e-300).outer(norms.clamp(min=1e-300))
        self.cosines = torch.zeros(3, 3, dtype=torch.float64)
        self.cosines[index[:, None], index] = unit
        kept = ((norms > NEGLIGIBLE * norms.max()) & (norms > 0)).nonzero().flatten()
        if len(kept) == 0:
            return gamma, [0.0] * len(index)
        solved = torch.zeros(len(index), dtype=torch.float64)
        solved[kept] = (
            self.solve((unit if self.normalise else gram)[kept[:, None], kept]).double().cpu()
        )
        gamma[index] = solved
        factors = solved
        if self.use == "unit":
            factors = torch.zeros_like(solved)
            factors[kept] = solved[kept] * norms[kept].mean() / norms[kept]
        return gamma, factors.tolist()

    def _fixed(self, weights: list[float], losses: Sequence[Tensor], shares: list[float]) -> Tensor:
        gamma = torch.tensor(weights, dtype=torch.float64)
        total = sum(losses[i] * (weights[i] * shares[i]) for i in range(3) if weights[i])
        if not isinstance(total, Tensor) or not total.requires_grad:
            self._assign([None] * len(self.trunk), [None] * len(self.head))
            return gamma
        gradients = _grad(total, self.trunk + self.head, retain=False)
        _reduce(gradients)
        self._assign(gradients[: len(self.trunk)], gradients[len(self.trunk) :])
        return gamma

    def _assign(self, trunk: Sequence[Tensor | None], head: Sequence[Tensor | None]) -> None:
        for parameter, gradient in zip(self.trunk + self.head, [*trunk, *head], strict=True):
            parameter.grad = gradient


def gram_matrix(gradients: Sequence[Sequence[Tensor]]) -> Tensor:
    """Inner products (k, k) float64 of k gradients, each a list of tensors of the same shapes.

    Products in the gradients' own precision over pieces short enough for it (relative error 1e-7, and the piece stays
    in the processor's cache), their sums in float64; wholly in float64 where squares leave the range of float32.
    """
    device = gradients[0][0].device.type if gradients[0] else "cpu"
    with torch.autocast(device, enabled=False):
        total = _gram(gradients, None)
        diagonal = total.diagonal()
        if bool(((diagonal > 1e-20) & (diagonal < 1e30)).all()):
            return total
        return _gram(gradients, torch.float64)


def _gram(gradients: Sequence[Sequence[Tensor]], kind: torch.dtype | None) -> Tensor:
    k = len(gradients)
    device = gradients[0][0].device if gradients[0] else torch.device("cpu")
    total = torch.zeros(k, k, dtype=torch.float64, device=device)
    for tensors in zip(*gradients, strict=True):
        flat = [wide(tensor).reshape(-1) for tensor in tensors]
        piece = 1 << 15 if device.type == "cpu" else 1 << 20
        for start in range(0, flat[0].numel(), piece):
            rows = torch.stack([tensor[start : start + piece] for tensor in flat]).to(kind)
            total += rows @ rows.T
    return total


def _grad(
    outputs: Tensor | list[Tensor],
    inputs: list[Tensor],
    retain: bool,
    at: Sequence[Tensor] | None = None,
) -> list[Tensor]:
    """Gradients of `outputs` (weighed by `at`), zeros where nothing arrives."""
    wanted = [outputs] if isinstance(outputs, Tensor) else outputs
    if not any(tensor.requires_grad for tensor in wanted):
        return [torch.zeros_like(tensor) for tensor in inputs]
    found = torch.autograd.grad(
        wanted, inputs, grad_outputs=at, retain_graph=retain, allow_unused=True
    )
    return [
        torch.zeros_like(tensor) if gradient is None else gradient
        for tensor, gradient in zip(inputs, found, strict=True)
    ]


def _combine(
    gradients: Sequence[Sequence[Tensor]], factors: Sequence[float], in_place: bool = False
) -> list[Tensor]:
    """Σ factor_i gradient_i.  in_place: in the memory of the first, for parameters; gradients of h̃ may share theirs."""
    first, *others = gradients
    result = list(first)
    if in_place:
        torch._foreach_mul_(result, factors[0])
    elif result:
        result = list(torch._foreach_mul(result, factors[0]))
    for factor, tensors in zip(factors[1:], others, strict=True):
        if factor and result:
            torch._foreach_add_(result, list(tensors), alpha=factor)
    return result


def mean_over_ranks(losses: Sequence[Tensor]) -> list[float]:
    """The losses' values on all of the data, whichever rank holds which part of it."""
    own = torch.stack([loss.detach().double() for loss in losses])
    if _distributed():
        shares = torch.tensor(_shares(losses), dtype=torch.float64, device=own.device)
        own = torch.where(shares > 0, own * shares, 0)
        _reduce([own])
    return own.tolist()


def _shares(losses: Sequence[Tensor]) -> list[float]:
    """What each rank's averages weigh in the average over all ranks: its part of the labelled utterances."""
    if not _distributed():
        return [1.0] * len(losses)
    own = torch.tensor(
        getattr(losses, "weights", (1.0, 1.0, 1.0)), dtype=torch.float64, device=losses[0].device
    )
    total = own.clone()
    _reduce([total])
    return torch.where(total > 0, own / total.clamp(min=1e-300), 0).tolist()


def _reduce(tensors: Sequence[Tensor]) -> None:
    """Sum over the ranks, in place."""
    if _distributed():
        for tensor in tensors:
            dist.all_reduce(tensor)


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
