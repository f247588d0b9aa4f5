"""Minimum-norm weights: optimality, invariances, closed forms, two independent solvers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from css_model import min_norm_weights

numbers = st.floats(-1, 1).map(lambda x: round(x, 3))


def vectors(k: st.SearchStrategy[int] = st.integers(1, 6)) -> st.SearchStrategy[np.ndarray]:  # noqa: B008
    return st.tuples(k, st.integers(1, 6)).flatmap(
        lambda size: st.lists(
            st.lists(numbers, min_size=size[1], max_size=size[1]),
            min_size=size[0],
            max_size=size[0],
        ).map(np.array)
    )


def assert_optimal(q: np.ndarray, gamma: np.ndarray, tolerance: float = 1e-8) -> None:
    """Check that γ is on the simplex, and (Qγ)_i >= γᵀQγ, with equality where γ_i > 0.

    The tolerance is relative to the terms of the sums.
    """
    assert np.isfinite(gamma).all() and (gamma >= 0).all()
    assert abs(gamma.sum() - 1) < 1e-12
    slope, value = q @ gamma, gamma @ q @ gamma
    scale = np.abs(q) @ gamma + gamma @ np.abs(q) @ gamma
    assert (slope >= value - tolerance * scale - 1e-300).all()
    # a violation counts by how much norm it moves, as γ_i weighs a gradient
    assert (gamma * np.abs(slope - value) <= tolerance * (gamma * scale) + 1e-300).all()


@settings(max_examples=150, deadline=None)
@given(vectors())
def test_optimality_conditions(g: np.ndarray) -> None:
    q = g @ g.T
    assert_optimal(q, min_norm_weights(torch.tensor(q)).numpy())


@settings(max_examples=60, deadline=None)
@example(np.array([[1.0], [1.0], [-1.0]]), [22, -140, 22])
@example(np.array([[0.25], [-0.336], [0.25]]), [0, 0, -9])
@example(np.array([[0.0, 0.594], [0.0, -0.625], [1.0, 0.0]]), [0, 1, 0])
@given(vectors(st.just(3)), st.lists(st.integers(-140, 140), min_size=3, max_size=3))
def test_gradients_of_wildly_different_lengths(g: np.ndarray, powers: list[int]) -> None:
    """Lengths from 1e-140 to 1e140 lose no accuracy, in units of each gradient."""
    scale = 10.0 ** np.array(powers)
    q = (g @ g.T) * scale[:, None] * scale
    gamma = min_norm_weights(torch.tensor(q)).numpy()
    assert np.isfinite(gamma).all() and (gamma >= 0).all() and abs(gamma.sum() - 1) < 1e-12
    best = min(q.diagonal())
    # opposite gradients cancel to the rounding error of the terms, not of the shortest gradient
    assert gamma @ q @ gamma <= best * (1 + 1e-9) + 1e-14 * (gamma @ np.abs(q) @ gamma)


@settings(max_examples=60, deadline=None)
@given(vectors(), st.integers(-230, 230))
def test_a_common_scale_changes_nothing(g: np.ndarray, power: int) -> None:
    q = g @ g.T
    gamma = min_norm_weights(torch.tensor(q))
    # powers of four and their roots are exact
    assert torch.equal(min_norm_weights(torch.tensor(q * 4.0**power)), gamma)


@settings(max_examples=60, deadline=None)
@given(vectors(), st.randoms())
def test_order_of_the_objectives_does_not_matter(g: np.ndarray, random) -> None:
    q = g @ g.T
    order = list(range(len(q)))
    random.shuffle(order)
    gamma = min_norm_weights(torch.tensor(q)).numpy()
    again = min_norm_weights(torch.tensor(q[np.ix_(order, order)])).numpy()
    difference = gamma[order] - again
    assert abs(difference @ q[np.ix_(order, order)] @ difference) <= 1e-9 * q.max()


def unit(generator: np.random.Generator, k: int, n: int) -> np.ndarray:
    g = generator.standard_normal((k, n))
    return g / np.linalg.norm(g, axis=1, keepdims=True)


def test_closed_form_for_three_unit_gradients() -> None:
    """γ ∝ (a(b+c-a), b(a+c-b), c(a+b-c)) with a = 1 - c23 and so on.

    If a term is negative, the other two get one half each.
    """
    generator = np.random.default_rng(0)
    for n in (2, 3, 5, 50):
        for _ in range(100):
            g = unit(generator, 3, n)
            q = g @ g.T
            a, b, c = 1 - q[1, 2], 1 - q[0, 2], 1 - q[0, 1]
            expected = np.array([a * (b + c - a), b * (a + c - b), c * (a + b - c)])
            if expected.min() < 0:
                expected = np.where(expected > 0, 0.5, 0)
            else:
                expected = expected / expected.sum()
            gamma = min_norm_weights(torch.tensor(q)).numpy()
            assert np.allclose(gamma, expected, atol=1e-9)
            assert gamma.max() <= 0.5 + 1e-12


def test_agrees_with_mgda_of_torchjd_and_slsqp() -> None:
    aggregation = pytest.importorskip("torchjd.aggregation")
    solver = aggregation.MGDAWeighting(epsilon=1e-12, max_iters=300)
    generator = np.random.default_rng(1)
    for k in (2, 3, 3, 4):
        g = generator.standard_normal((k, 6)) * np.exp(generator.normal(0, 1, (k, 1)))
        q = torch.tensor(g @ g.T)
        gamma = min_norm_weights(q)
        value = float(gamma @ q @ gamma)
        other = solver(q)
        assert value <= float(other @ q @ other) * (1 + 1e-9)
        # Frank-Wolfe converges slowly if the optimum is on an edge
        assert torch.allclose(gamma, other, atol=0.05)
        matrix = q.numpy()
        slsqp = minimize(
            lambda x, q=matrix: x @ q @ x,
            np.full(k, 1 / k),
            method="SLSQP",
            jac=lambda x, q=matrix: 2 * q @ x,
            bounds=[(0, 1)] * k,
            options={"ftol": 1e-15},
            constraints={"type": "eq", "fun": lambda x: x.sum() - 1, "jac": np.ones_like},
        )
        assert value <= slsqp.fun * (1 + 1e-9)
        assert np.allclose(gamma.numpy(), slsqp.x, atol=1e-3)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[1, 0], [1, 0], [1, 0]], [1 / 3, 1 / 3, 1 / 3]),  # all equal
        ([[1, 0], [1, 0], [0, 1]], [1 / 4, 1 / 4, 1 / 2]),  # duplicates share their weight
        ([[0, 0], [1, 0], [0, 1]], [1, 0, 0]),  # zero has the minimum norm
        ([[0, 0], [0, 0], [0, 1]], [1 / 2, 1 / 2, 0]),
        ([[0, 0], [0, 0], [0, 0]], [1 / 3, 1 / 3, 1 / 3]),
        ([[1, 0], [-1, 0], [0, 1]], [1 / 2, 1 / 2, 0]),  # opposite
        ([[1, 0], [2, 0], [3, 0]], [1, 0, 0]),  # parallel: the shortest
        # zero inside the triangle
        ([[1, 0], [-0.5, 3**0.5 / 2], [-0.5, -(3**0.5) / 2]], [1 / 3, 1 / 3, 1 / 3]),
        ([[3]], [1]),
        ([[1, 0], [0, 2]], [0.8, 0.2]),
    ],
)
def test_degenerate_cases(rows: list[list[float]], expected: list[float]) -> None:
    g = torch.tensor(rows, dtype=torch.float64)
    gamma = min_norm_weights(g @ g.T)
    assert torch.allclose(gamma, torch.tensor(expected, dtype=torch.float64), atol=1e-9)


def test_near_duplicates_at_every_distance() -> None:
    generator = np.random.default_rng(2)
    for power in range(1, 18):
        g = unit(generator, 3, 4)
        g[1] = g[0] + 10.0**-power * generator.standard_normal(4)
        q = g @ g.T
        assert_optimal(q, min_norm_weights(torch.tensor(q)).numpy(), 1e-9)


@pytest.mark.parametrize(
    "gram",
    [
        torch.zeros(2, 3),
        torch.full((3, 3), float("nan")),
        -torch.eye(2),
        torch.tensor([[1.0, 5.0], [5.0, 1.0]]),
        torch.zeros(0, 0),
        torch.zeros(3),
        torch.tensor([[1.0, 0.0], [float("inf"), 1.0]]),
    ],
)
def test_other_matrices_are_refused(gram: torch.Tensor) -> None:
    with pytest.raises(ValueError):
        min_norm_weights(gram)
