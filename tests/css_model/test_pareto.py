"""PGM: the combined scheme against a fourth backward pass, degenerate gradients, and two ranks against one."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.paths import ROOT

from css_model import (
    CSS,
    ParetoGradientModulator,
    collate,
    losses,
    make_modulator,
    min_norm_weights,
)
from css_model.pareto import gram_matrix

THETAS = ("trunk", "last", "repr")


@pytest.fixture
def case(config, dialogue):
    """A model, its output with one dropout mask, and the losses."""
    model = CSS(config()).train()
    batch = collate([dialogue(1, 9), dialogue(2, 4), dialogue(3, 1)])
    output = model(batch)
    return model, output, losses(output, batch)


def gradient_of(loss: torch.Tensor, model: CSS) -> dict[str, torch.Tensor]:
    found = torch.autograd.grad(
        loss, list(model.parameters()), retain_graph=True, allow_unused=True
    )
    return {
        name: torch.zeros_like(p) if g is None else g
        for (name, p), g in zip(model.named_parameters(), found, strict=True)
    }


def theta_of(name: str, theta: str) -> bool:
    return name.startswith("encoder.output." if theta == "last" else "encoder.")


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    scale = max(value.abs().max() for value in expected.values())
    for name, value in expected.items():
        assert torch.allclose(found[name], value, rtol=1e-4, atol=1e-5 * float(scale)), name


@pytest.mark.parametrize("theta", THETAS)
@pytest.mark.parametrize("use", ["raw", "unit"])
def test_equals_a_fourth_backward_pass(case, theta: str, use: str) -> None:
    """γ from the QP on whole gradients, then the weighted loss differentiated anew, as the paper does it."""
    model, output, (l1, l2, l3) = case
    if theta == "repr":
        rows = [
            torch.autograd.grad(
                loss, list(output.hidden.values()), retain_graph=True, allow_unused=True
            )
            for loss in (l1, l2, l3)
        ]
        flat = torch.stack([torch.cat([g.flatten() for g in row]) for row in rows]).double()
    else:
        each = [gradient_of(loss, model) for loss in (l1, l2, l3)]
        flat = torch.stack(
            [
                torch.cat([g.flatten() for name, g in row.items() if theta_of(name, theta)])
                for row in each
            ]
        ).double()
    norms = flat.norm(dim=1)
    gamma = min_norm_weights((flat / norms[:, None]) @ (flat / norms[:, None]).T)
    factors = gamma * norms.mean() / norms if use == "unit" else gamma
    expected = gradient_of(factors[0] * l1 + factors[1] * l2 + factors[2] * l3, model)
    modulator = ParetoGradientModulator(model, theta, use)
    found = modulator.backward((l1, l2, l3), output)
    assert torch.allclose(found, gamma, atol=1e-4)
    assert torch.allclose(modulator.norms, norms, rtol=1e-4)
    assert_close({name: p.grad for name, p in model.named_parameters()}, expected)


def test_unit_use_descends_on_every_loss(case) -> None:
    """The combined direction has a positive product with each loss's gradient on θ: no loss rises to first order."""
    model, output, three = case
    each = [gradient_of(loss, model) for loss in three]
    ParetoGradientModulator(model, use="unit").backward(three, output)
    for gradient in each:
        product = sum(
            float((p.grad * gradient[name]).sum())
            for name, p in model.named_parameters()
            if theta_of(name, "trunk")
        )
        assert product > 0


def test_unscaled_heads_get_the_plain_sum(case) -> None:
    model, output, three = case
    expected = gradient_of(three[0] + three[1] + three[2], model)
    ParetoGradientModulator(model, heads="unscaled").backward(three, output)
    assert_close(
        {name: p.grad for name, p in model.named_parameters() if not theta_of(name, "trunk")},
        {name: value for name, value in expected.items() if not theta_of(name, "trunk")},
    )


def test_fixed_weights_are_one_ordinary_backward_pass(case) -> None:
    model, output, (l1, l2, l3) = case
    expected = gradient_of(l1 + 0.5 * l2, model)
    gamma = make_modulator("static", model, weights=(1, 0.5, 0)).backward((l1, l2, l3), output)
    assert gamma.tolist() == [1, 0.5, 0]
    assert_close(
        {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in model.named_parameters()},
        expected,
    )


@pytest.mark.parametrize("theta", THETAS)
def test_a_negligible_gradient_is_dropped_and_not_followed(case, theta: str) -> None:
    """L2 equalised to length with an epsilon would take all the weight and stop training."""
    model, output, (l1, l2, l3) = case
    assert ParetoGradientModulator(model, theta).backward(
        (l1, l2 * 1e-9, l3 * 0), output
    ).tolist() == [1, 0, 0]


@pytest.mark.parametrize("theta", THETAS)
def test_all_zero_skips_the_step(case, theta: str) -> None:
    model, output, three = case
    gamma = ParetoGradientModulator(model, theta).backward([loss * 0 for loss in three], output)
    assert gamma.tolist() == [0, 0, 0] and all(p.grad is None for p in model.parameters())


def test_gradients_that_are_not_finite_are_refused(case) -> None:
    model, output, (l1, l2, l3) = case
    with pytest.raises(FloatingPointError, match="L2"):
        ParetoGradientModulator(model).backward((l1, l2 * float("nan"), l3), output)


@pytest.mark.parametrize("theta", THETAS)
def test_without_an_objective(case, theta: str) -> None:
    model, output, three = case
    gamma = ParetoGradientModulator(model, theta, objectives=(0, 2)).backward(three, output)
    assert gamma[1] == 0 and torch.allclose(gamma.sum(), torch.ones((), dtype=torch.float64))
    assert torch.allclose(
        gamma[[0, 2]], torch.full((2,), 0.5, dtype=torch.float64)
    )  # of two unit vectors always half


@pytest.mark.parametrize("name", ["equal", "l1", "mgda", "pcgrad", "cagrad"])
def test_other_directions(case, name: str) -> None:
    pytest.importorskip("torchjd")
    model, output, three = case
    each = [gradient_of(loss, model) for loss in three]
    gamma = make_modulator(name, model).backward(three, output)
    assert (gamma >= 0).all() and gamma.any()
    expected = {
        n: sum(float(g) * row[n] for g, row in zip(gamma, each, strict=True)) for n in each[0]
    }
    assert_close(
        {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in model.named_parameters()},
        expected,
    )
    if (
        name == "pcgrad"
    ):  # PCGrad's result conflicts less with L1 than the plain sum would, never more
        aggregation = pytest.importorskip("torchjd.aggregation")
        rows = torch.stack(
            [
                torch.cat([g.flatten() for n, g in row.items() if theta_of(n, "trunk")])
                for row in each
            ]
        )
        trunk = torch.cat(
            [p.grad.flatten() for n, p in model.named_parameters() if theta_of(n, "trunk")]
        )
        if (rows @ rows.T >= 0).all():  # without a conflict nothing depends on its random order
            assert torch.allclose(aggregation.PCGrad()(rows), trunk, atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 300))
def test_unit_gradients_never_get_more_than_half(seed: int, size: int) -> None:
    g = torch.randn(3, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    g = g / g.norm(dim=1, keepdim=True)
    assert min_norm_weights(g @ g.T).max() <= 0.5 + 1e-12


def test_gram_matrix_holds_over_millions_and_at_the_edge_of_float32() -> None:
    rows = [
        [torch.full((300_000,), value), torch.full((7, 3), value)] for value in (1e-25, -2e-25, 1e3)
    ]
    n = 300_021
    a = torch.tensor([1e-25, -2e-25, 1e3]).double()
    assert torch.allclose(gram_matrix(rows), n * a.outer(a), rtol=1e-12, atol=0)


def test_bad_options_are_refused(config) -> None:
    model = CSS(config())
    for options in (
        {"theta": "all"},
        {"use": "x"},
        {"heads": "x"},
        {"objectives": ()},
        {"objectives": (0, 3)},
        {"weights": (1, 2)},
        {"weights": (1, -1, 0)},
    ):
        with pytest.raises(ValueError):
            ParetoGradientModulator(model, **options)
    with pytest.raises(ValueError, match="unknown direction"):
        make_modulator("magic", model)


def test_two_ranks_equal_one(tmp_path: Path) -> None:
    script = ROOT / "tests/support/two_ranks.py"
    root = ROOT
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(root), str(root / "tests")]),
        "OMP_NUM_THREADS": "1",
    }
    jobs = [
        subprocess.Popen([sys.executable, str(script), str(rank), str(tmp_path)], env=environment)
        for rank in range(2)
    ]
    one = runpy.run_path(str(script))["together"]()
    assert [job.wait(500) for job in jobs] == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    for (gamma, expected), *others in zip(one, first, second, strict=True):
        for other_gamma, found in others:
            assert torch.allclose(other_gamma, gamma, atol=1e-4)
            zeros = {name: torch.zeros_like(value) for name, value in expected.items()}
            assert_close(zeros | found, expected)
