"""PGM equals a fourth backward pass; degenerate gradients; two ranks equal one."""

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

THETAS = ("sketch", "trunk", "last", "repr")


@pytest.fixture
def case(config, dialogue):
    """Return a model, an output with dropout, and its losses."""
    model = CSS(config()).train()
    batch = collate([dialogue(1, 9), dialogue(2, 4), dialogue(3, 1)])
    output = model(batch)
    return model, output, losses(output, batch)


def gradient_of(loss: torch.Tensor, model: CSS) -> dict[str, torch.Tensor]:
    gradients = torch.autograd.grad(
        loss, list(model.parameters()), retain_graph=True, allow_unused=True
    )
    return {
        name: torch.zeros_like(p) if g is None else g
        for (name, p), g in zip(model.named_parameters(), gradients, strict=True)
    }


def set_gradients(model: CSS) -> dict[str, torch.Tensor]:
    """Return `.grad` of all parameters, zeros for None."""
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad
        for name, p in model.named_parameters()
    }


def theta_of(name: str, theta: str) -> bool:
    return name.startswith("encoder.output." if theta == "last" else "encoder.")


def flatten(gradients: dict[str, torch.Tensor], theta: str) -> torch.Tensor:
    return torch.cat([g.flatten() for name, g in gradients.items() if theta_of(name, theta)])


def assert_close(actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    scale = max(value.abs().max() for value in expected.values())
    for name, value in expected.items():
        assert torch.allclose(actual[name], value, rtol=1e-4, atol=1e-5 * float(scale)), name


@pytest.mark.parametrize("theta", THETAS)
@pytest.mark.parametrize("use", ["raw", "unit"])
def test_equals_a_fourth_backward_pass(case, theta: str, use: str) -> None:
    """As in the paper: γ from the QP on whole gradients, then differentiate the weighted loss."""
    model, output, (l1, l2, l3) = case
    if theta == "repr":
        hidden = list(output.hidden.values())
        rows = [
            torch.autograd.grad(loss, hidden, retain_graph=True, allow_unused=True)
            for loss in (l1, l2, l3)
        ]
        flat = torch.stack([torch.cat([g.flatten() for g in row]) for row in rows]).double()
    else:
        each = [gradient_of(loss, model) for loss in (l1, l2, l3)]
        flat = torch.stack([flatten(row, theta) for row in each]).double()
    norms = flat.norm(dim=1)
    gamma = min_norm_weights((flat / norms[:, None]) @ (flat / norms[:, None]).T)
    factors = gamma * norms.mean() / norms if use == "unit" else gamma
    expected = gradient_of(factors[0] * l1 + factors[1] * l2 + factors[2] * l3, model)
    modulator = ParetoGradientModulator(model, theta, use)
    actual = modulator.backward((l1, l2, l3), output)
    assert torch.allclose(actual, gamma, atol=1e-4)
    assert torch.allclose(modulator.norms, norms, rtol=1e-4)
    assert_close({name: p.grad for name, p in model.named_parameters()}, expected)


def test_unit_use_descends_on_every_loss(case) -> None:
    """The step has a positive inner product with each gradient on θ."""
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


def test_a_sketch_changes_the_weights_of_the_losses_alone(case) -> None:
    """The gradient is that of Σ γ_i L_i for the γ found, however coarse the sketch."""
    model, output, three = case
    exact = ParetoGradientModulator(model, "trunk")
    modulator = ParetoGradientModulator(model, width=2)
    assert len(modulator.layers) > 30 and not exact.layers
    each = [gradient_of(loss, model) for loss in three]
    gamma = modulator.backward(three, output)
    assert abs(gamma.sum() - 1) < 1e-9
    expected = {
        n: sum(float(g) * row[n] for g, row in zip(gamma, each, strict=True)) for n in each[0]
    }
    assert_close(set_gradients(model), expected)
    assert all(p.grad.stride() == p.stride() for p in model.parameters())
    with pytest.raises(ValueError, match="anew"):
        modulator.backward(three, output)


def test_a_sketch_is_the_same_in_every_run(config, dialogue) -> None:
    """Its signs follow from the place of a layer; drawing them leaves torch's generator alone."""
    model, batch = CSS(config()).train(), collate([dialogue(1, 9), dialogue(2, 4)])
    found = []
    for seed in range(2):
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        modulator = ParetoGradientModulator(model, width=2)
        assert torch.equal(torch.get_rng_state(), state)
        torch.manual_seed(0)  # of the dropout
        output = model(batch)
        gamma = modulator.backward(losses(output, batch), output)
        found.append([gamma, *set_gradients(model).values()])
    assert all(map(torch.equal, *found))


def test_a_sketch_under_autocast(config, dialogue) -> None:
    model = CSS(config()).train()
    batch = collate([dialogue(1, 9), dialogue(2, 4)])
    with torch.autocast("cpu", torch.bfloat16):
        output = model(batch)
    three = losses(output, batch)
    each = [gradient_of(loss, model) for loss in three]
    gamma = ParetoGradientModulator(model, width=2).backward(three, output)
    expected = sum(
        float(g) * torch.cat([v.flatten() for v in row.values()])
        for g, row in zip(gamma, each, strict=True)
    )
    actual = torch.cat([v.flatten() for v in set_gradients(model).values()])
    assert (actual - expected).norm() < 0.02 * expected.norm()


@pytest.mark.parametrize("seed", range(4))
def test_sketched_weights_are_close_to_exact_ones(config, dialogue, seed: int) -> None:
    """Over starts, batches and dropout masks."""
    torch.manual_seed(seed)
    model = CSS(config(d=288, hidden=288)).train()
    batch = collate([dialogue(10 * seed + i, 2 + 5 * i) for i in range(seed + 1)])
    gammas = []
    for theta in ("sketch", "trunk"):
        torch.manual_seed(seed)
        output = model(batch)
        gammas.append(ParetoGradientModulator(model, theta).backward(losses(output, batch), output))
    assert ParetoGradientModulator(model).layers
    assert not torch.equal(*gammas) and torch.allclose(*gammas, rtol=0, atol=0.02)


def test_unscaled_heads_get_the_plain_sum(case) -> None:
    model, output, three = case
    expected = gradient_of(three[0] + three[1] + three[2], model)
    ParetoGradientModulator(model, heads="unscaled").backward(three, output)
    heads = {name: g for name, g in expected.items() if not theta_of(name, "trunk")}
    assert_close({name: p.grad for name, p in model.named_parameters()}, heads)


def test_fixed_weights_are_one_ordinary_backward_pass(case) -> None:
    model, output, (l1, l2, l3) = case
    expected = gradient_of(l1 + 0.5 * l2, model)
    gamma = make_modulator("static", model, weights=(1, 0.5, 0)).backward((l1, l2, l3), output)
    assert gamma.tolist() == [1, 0.5, 0]
    assert_close(set_gradients(model), expected)


@pytest.mark.parametrize("theta", THETAS)
def test_a_negligible_gradient_gets_no_weight(case, theta: str) -> None:
    """Normalised with an epsilon, L2 would get all the weight, which would stop training."""
    model, output, (l1, l2, l3) = case
    modulator = ParetoGradientModulator(model, theta)
    assert modulator.backward((l1, l2 * 1e-9, l3 * 0), output).tolist() == [1, 0, 0]


@pytest.mark.parametrize("theta", THETAS)
def test_zero_gradients_skip_the_step(case, theta: str) -> None:
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
    # two unit vectors always get one half each
    assert torch.allclose(gamma[[0, 2]], torch.full((2,), 0.5, dtype=torch.float64))


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
    assert_close(set_gradients(model), expected)
    if name == "pcgrad":
        aggregation = pytest.importorskip("torchjd.aggregation")
        rows = torch.stack([flatten(row, "trunk") for row in each])
        if (rows @ rows.T >= 0).all():  # without conflicts, PCGrad's random order has no effect
            trunk = flatten(set_gradients(model), "trunk")
            assert torch.allclose(aggregation.PCGrad()(rows), trunk, atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 300))
def test_unit_gradients_never_get_more_than_half(seed: int, size: int) -> None:
    g = torch.randn(3, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    g = g / g.norm(dim=1, keepdim=True)
    assert min_norm_weights(g @ g.T).max() <= 0.5 + 1e-12


def test_gram_matrix_of_long_gradients_beyond_the_range_of_float32() -> None:
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
        for other_gamma, actual in others:
            assert torch.allclose(other_gamma, gamma, atol=1e-4)
            zeros = {name: torch.zeros_like(value) for name, value in expected.items()}
            assert_close(zeros | actual, expected)
