"""PGM and what it is compared with, by name: ways to combine three gradients into one step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from css_model.balance import BalancedGradients, Modulator, by_modality
from css_model.model import CSS
from css_model.pareto import ParetoGradientModulator

__all__ = ["DIRECTIONS", "make_modulator"]

BALANCE = 0.1  # α of Ada2I's gradient scaling
CAGRAD_C = 0.5  # radius of the search around the mean gradient (Liu et al. 2021: 0.4 to 0.5)


def _torchjd(name: str, **options: float) -> Callable[[Tensor], Tensor]:
    """Return a weighting of the optional library torchjd.

    Its thresholds are absolute, so the Gram matrix is scaled.
    """
    try:
        from torchjd import aggregation
    except ImportError as error:
        raise ImportError(
            f"{name} needs the library torchjd: pip install 'merc[ablate]'"
        ) from error
    weighting = getattr(aggregation, name)(**options)
    return lambda gram: weighting(gram / gram.diagonal().mean())


DIRECTIONS: dict[str, Callable[[], dict[str, Any]]] = {
    "pgm": dict,
    "equal": lambda: {"weights": (1.0, 1.0, 1.0)},  # "without PGM"
    "l1": lambda: {"weights": (1.0, 0.0, 0.0)},
    "mgda": lambda: {"normalise": False},  # on raw gradients, eq. 14
    "pcgrad": lambda: {"normalise": False, "solve": _torchjd("PCGradWeighting")},
    "cagrad": lambda: {"normalise": False, "solve": _torchjd("CAGradWeighting", c=CAGRAD_C)},
    "ada2i": lambda: {"weights": (1.0, 1.0, 1.0)},  # the encoders' gradients are scaled afterwards
}


def make_modulator(
    name: str,
    model: CSS,
    theta: str = "sketch",
    use: str = "raw",
    *,
    heads: str = "scaled",
    objectives: Sequence[int] = (0, 1, 2),
    weights: Sequence[float] | None = None,
) -> Modulator:
    """Return a modulator by its name in `DIRECTIONS`, or "static" with three `weights`.

    The other arguments are those of `ParetoGradientModulator`. `use` applies to PGM only: all
    others weigh the raw losses. "ada2i" scales the gradients of what the encoder keeps for each
    modality (`BalancedGradients`).

    Raises ValueError for an unknown name, ImportError for pcgrad and cagrad without torchjd.
    """
    if name == "static":
        if weights is None:
            raise ValueError("static needs three weights")
        options: dict[str, Any] = {"weights": weights}
    elif name in DIRECTIONS:
        options = DIRECTIONS[name]()
    else:
        raise ValueError(f"unknown direction {name!r}; choose {', '.join(DIRECTIONS)} or static")
    modulator = ParetoGradientModulator(
        model, theta, use if name == "pgm" else "raw", heads=heads, objectives=objectives, **options
    )
    if name != "ada2i":
        return modulator
    encoder = model.encoder
    groups = by_modality([encoder.project, encoder.mae, encoder.iae, encoder.output])
    return BalancedGradients(modulator, groups, BALANCE)
