"""Eqs. 14-16: the Pareto Gradient Modulator (PGM), which weighs three losses by their gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from css_model.fusion import wide
from css_model.min_norm import min_norm_weights
from css_model.model import CSS, Output
from css_model.sketch import WIDTH, TrunkGradients, sketched_layers

__all__ = [
    "ParetoGradientModulator",
    "gram_matrix",
    "mean_over_ranks",
    "min_norm_weights",
    "set_gradients",
    "shares_of_rank",
    "sum_over_ranks",
]

NEGLIGIBLE = 1e-6  # a gradient shorter than this share of the longest gets γ = 0


class ParetoGradientModulator:
    """Set `.grad` to the gradient of Σ γ_i L_i (eq. 16).

    γ is the minimum-norm point of the unit gradients (eq. 15).

    theta: the parameters whose gradients are compared:
        "sketch": all up to the output projection of eq. 6. γ comes from sketches of the gradients
            of wide layers (`css_model.sketch`), with an error of about .005; the gradient of
            Σ γ_i L_i is exact.
        "trunk": the same parameters without sketches. The three gradients are combined, which
            needs no fourth backward pass.
        "last": that projection only; "repr": h̃ itself. Both need one backward pass through the
            trunk.
    use: "raw": γ weighs the raw losses (eq. 16 as printed). "unit": γ weighs unit gradients
        rescaled by their mean norm; only then does no loss increase to first order on θ.
    heads: gradient of the fusion and the unimodal heads. "scaled": that of the weighted sum, as in
        eq. 16. "unscaled": that of the plain sum (Sener and Koltun 2018).
    objectives: which of L1, L2, L3 take part, as 0, 1, 2 (the rows "without L2" and "without L3");
        the others get γ = 0.
    weights: three fixed γ instead of a solution ("without PGM"): one ordinary backward pass.
    solve: function from the Gram matrix (k, k) float64 to weights (k,).
    normalise: False passes the Gram matrix of the raw gradients to `solve` (plain MGDA, and the
        other methods of `css_model.directions`).
    width: of the sketches; their error falls with its square root. Weights of at most 4 width²
        elements are not sketched.

    After each step, `norms` (3,) and `cosines` (3, 3) describe the gradients on θ, or their
    sketches. Under torch.distributed, every rank gets the gradient that a single rank would have on
    all data.

    Raises ValueError for unknown options.

    >>> from css_model import Batch, CSSConfig, losses
    >>> config = CSSConfig(widths={"text": 4}, labels=("joy", "anger"), d=8, heads=2, hidden=8)
    >>> batch = Batch(
    ...     features={"text": torch.randn(3, 4)},
    ...     present={"text": torch.ones(3, dtype=torch.bool)},
    ...     speakers=torch.tensor([0, 1, 0]),
    ...     lengths=[3],
    ...     labels=torch.tensor([0, 1, 1]),
    ... )
    >>> model = CSS(config)
    >>> output = model(batch)
    >>> gamma = ParetoGradientModulator(model).backward(losses(output, batch), output)
    >>> round(float(gamma.sum()), 6)
    1.0
    >>> all(parameter.grad is not None for parameter in model.parameters())
    True
    """

    def __init__(
        self,
        model: CSS,
        theta: str = "sketch",
        use: str = "raw",
        *,
        heads: str = "scaled",
        objectives: Sequence[int] = (0, 1, 2),
        weights: Sequence[float] | None = None,
        solve: Callable[[Tensor], Tensor] = min_norm_weights,
        normalise: bool = True,
        width: int = WIDTH,
    ) -> None:
        _check("theta", theta, ("sketch", "trunk", "last", "repr"))
        _check("use", use, ("raw", "unit"))
        _check("heads", heads, ("scaled", "unscaled"))
        chosen = set(objectives)
        if not chosen or not chosen <= {0, 1, 2} or len(chosen) != len(objectives):
            raise ValueError(
                f"objectives must be some of 0, 1, 2, each once, not {tuple(objectives)}"
            )
        if weights is not None:
            if len(weights) != 3 or not all(0 <= weight < math.inf for weight in weights):
                raise ValueError(f"weights must be three finite numbers >= 0, not {weights}")
        self.model, self.theta, self.use, self.scale_heads = model, theta, use, heads == "scaled"
        self.objectives, self.weights = tuple(objectives), weights
        self.solve, self.normalise = solve, normalise
        self.layers = sketched_layers(model, width) if theta == "sketch" else []
        sketched = [layer.weight for layer in self.layers]
        numbers = {id(weight) for weight in sketched}
        self.rest: list[Tensor] = [
            p for p in model.encoder.parameters() if p.requires_grad and id(p) not in numbers
        ]
        self.trunk: list[Tensor] = [*self.rest, *sketched]
        self.last: list[Tensor] = [p for p in model.encoder.output.parameters() if p.requires_grad]
        inside = {id(p) for p in model.encoder.parameters()}
        self.head: list[Tensor] = [
            p for p in model.parameters() if p.requires_grad and id(p) not in inside
        ]
        self.norms = torch.zeros(3, dtype=torch.float64)  # of the last step's gradients on θ
        self.cosines = torch.zeros(3, 3, dtype=torch.float64)

    def backward(self, losses: Sequence[Tensor], output: Output) -> Tensor:
        """Set `.grad` of all parameters and return γ, (3,) float64.

        losses: L1, L2, L3 of `css_model.losses`. output: of the forward pass that gave them.

        If every gradient is zero, `.grad` is None: skip the step.

        Raises FloatingPointError if a gradient is not finite, ValueError if `output` has been used
        or was not computed by the model with autograd.
        """
        calls = list(output.calls)
        output.calls.clear()  # the graph serves once; the inputs of layers need not outlive it
        shares = shares_of_rank(losses)
        if self.weights is not None:
            fixed = [w if i in self.objectives else 0.0 for i, w in enumerate(self.weights)]
            return self._fixed(fixed, losses, shares)
        hidden = list(output.hidden.values())
        at_hidden, at_head = [], []
        for i in self.objectives:
            gradients = _grad(losses[i] * shares[i], hidden + self.head, retain=True)
            at_hidden.append(gradients[: len(hidden)])
            at_head.append(gradients[len(hidden) :])
        compared = at_hidden
        if self.theta in ("sketch", "trunk"):
            if self.layers and not calls:
                raise ValueError("output has no calls of layers: compute it anew by model(batch)")
            of_trunk = TrunkGradients(self.layers, self.rest, calls)
            for n, rows in enumerate(at_hidden, 1):
                of_trunk.add(hidden, rows, retain=n < len(at_hidden))
            compared = of_trunk.compared
        elif self.theta == "last":
            compared = [_grad(hidden, self.last, retain=True, at=rows) for rows in at_hidden]
        if self.theta != "repr":
            for gradients in compared:
                sum_over_ranks(gradients)
        gram = gram_matrix(compared)
        if self.theta == "repr":
            sum_over_ranks([gram])  # of samples that lie on different ranks: inner products add up
        gamma, coefficients = self._weigh(gram.cpu())
        if not any(coefficients):
            self._clear()
            return gamma
        if self.theta in ("sketch", "trunk"):
            layers = of_trunk.combine_layers(coefficients)
            sum_over_ranks(layers)
            rest = [gradients[: len(self.rest)] for gradients in compared]
            trunk = _combine(rest, coefficients, in_place=True) + layers
        else:
            trunk = _grad(hidden, self.trunk, retain=False, at=_combine(at_hidden, coefficients))
            sum_over_ranks(trunk)
        head = _combine(at_head, coefficients if self.scale_heads else [1.0] * len(coefficients))
        sum_over_ranks(head)
        self._assign(trunk, head)
        return gamma

    def _weigh(self, gram: Tensor) -> tuple[Tensor, list[float]]:
        """Return γ of all three losses, and the factor of each compared gradient."""
        norms = gram.diagonal().sqrt()
        if not bool(torch.isfinite(gram).all()):
            pairs = zip(self.objectives, norms.tolist(), strict=True)
            bad = [f"L{i + 1}" for i, norm in pairs if not math.isfinite(norm)]
            raise FloatingPointError(
                f"the gradient of {', '.join(bad) or 'a loss'} is not finite; lower the learning "
                "rate, or look for features of extreme size"
            )
        index = torch.tensor(self.objectives)
        gamma, self.norms = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
        self.norms[index] = norms
        unit = gram / norms.clamp(min=1e-300).outer(norms.clamp(min=1e-300))
        self.cosines = torch.zeros(3, 3, dtype=torch.float64)
        self.cosines[index[:, None], index] = unit
        used = ((norms > NEGLIGIBLE * norms.max()) & (norms > 0)).nonzero().flatten()
        if len(used) == 0:
            return gamma, [0.0] * len(index)
        matrix = (unit if self.normalise else gram)[used[:, None], used]
        solution = torch.zeros(len(index), dtype=torch.float64)
        solution[used] = self.solve(matrix).double().cpu()
        gamma[index] = solution
        factors = solution
        if self.use == "unit":
            factors = torch.zeros_like(solution)
            factors[used] = solution[used] * norms[used].mean() / norms[used]
        return gamma, factors.tolist()

    def _fixed(self, weights: list[float], losses: Sequence[Tensor], shares: list[float]) -> Tensor:
        """Set `.grad` to that of the sum with fixed weights, and return them."""
        gamma = torch.tensor(weights, dtype=torch.float64)
        total = sum(losses[i] * (weights[i] * shares[i]) for i in range(3) if weights[i])
        if not isinstance(total, Tensor) or not total.requires_grad:
            self._clear()
            return gamma
        gradients = _grad(total, self.trunk + self.head, retain=False)
        sum_over_ranks(gradients)
        self._assign(gradients[: len(self.trunk)], gradients[len(self.trunk) :])
        return gamma

    def _clear(self) -> None:
        for parameter in self.trunk + self.head:
            parameter.grad = None

    def _assign(self, trunk: Sequence[Tensor], head: Sequence[Tensor]) -> None:
        set_gradients(self.trunk + self.head, [*trunk, *head])


def gram_matrix(gradients: Sequence[Sequence[Tensor]]) -> Tensor:
    """Return the inner products of k gradients, (k, k) float64.

    gradients: k lists of tensors of the same shapes.

    Products are computed in the precision of the gradients, over pieces short enough for it
    (relative error 1e-7) that also fit the processor's cache, and summed in float64. If squares
    exceed the range of float32, all is computed in float64.
    """
    device = gradients[0][0].device.type if gradients[0] else "cpu"
    with torch.autocast(device, enabled=False):
        total = _gram(gradients, None)
        diagonal = total.diagonal()
        if bool(((diagonal > 1e-20) & (diagonal < 1e30)).all()):
            return total
        return _gram(gradients, torch.float64)


def _gram(gradients: Sequence[Sequence[Tensor]], dtype: torch.dtype | None) -> Tensor:
    k = len(gradients)
    device = gradients[0][0].device if gradients[0] else torch.device("cpu")
    total = torch.zeros(k, k, dtype=torch.float64, device=device)
    for tensors in zip(*gradients, strict=True):
        flat = [wide(tensor).reshape(-1) for tensor in tensors]
        piece = 1 << 15 if device.type == "cpu" else 1 << 20
        for start in range(0, flat[0].numel(), piece):
            rows = torch.stack([tensor[start : start + piece] for tensor in flat]).to(dtype)
            total += rows @ rows.T
    return total


def _grad(
    outputs: Tensor | list[Tensor],
    inputs: list[Tensor],
    retain: bool,
    at: Sequence[Tensor] | None = None,
) -> list[Tensor]:
    """Return the gradients of `outputs` (weighted by `at`); zeros for inputs without influence."""
    targets = [outputs] if isinstance(outputs, Tensor) else outputs
    if not any(tensor.requires_grad for tensor in targets):
        return [torch.zeros_like(tensor) for tensor in inputs]
    gradients = torch.autograd.grad(
        targets, inputs, grad_outputs=at, retain_graph=retain, allow_unused=True
    )
    return [
        torch.zeros_like(tensor) if gradient is None else gradient
        for tensor, gradient in zip(inputs, gradients, strict=True)
    ]


def _combine(
    gradients: Sequence[Sequence[Tensor]], factors: Sequence[float], in_place: bool = False
) -> list[Tensor]:
    """Return Σ factor_i gradient_i.

    in_place: overwrite the first gradient. Not for gradients of h̃, which may share memory.
    """
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


def set_gradients(parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
    """Set `.grad`, with the parameters' strides: fused optimisers refuse others on CUDA."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient.stride() != parameter.stride():
            gradient = torch.empty_like(parameter).copy_(gradient)
        parameter.grad = gradient


def mean_over_ranks(losses: Sequence[Tensor]) -> list[float]:
    """Return the values of the losses on the data of all ranks."""
    values = torch.stack([loss.detach().double() for loss in losses])
    if _distributed():
        shares = torch.tensor(shares_of_rank(losses), dtype=torch.float64, device=values.device)
        values = torch.where(shares > 0, values * shares, 0)
        sum_over_ranks([values])
    return values.tolist()


def shares_of_rank(losses: Sequence[Tensor]) -> list[float]:
    """Return the weight of this rank in the average over all ranks, for each loss.

    It is the rank's share of the labelled utterances.
    """
    if not _distributed():
        return [1.0] * len(losses)
    weights = torch.tensor(
        getattr(losses, "weights", (1.0, 1.0, 1.0)), dtype=torch.float64, device=losses[0].device
    )
    total = weights.clone()
    sum_over_ranks([total])
    return torch.where(total > 0, weights / total.clamp(min=1e-300), 0).tolist()


def sum_over_ranks(tensors: Sequence[Tensor]) -> None:
    """Sum over the ranks, in place."""
    if _distributed():
        for tensor in tensors:
            dist.all_reduce(tensor)


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _check(option: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"{option} must be one of {', '.join(choices)}, not {value!r}")
