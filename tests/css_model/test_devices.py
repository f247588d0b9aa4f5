"""One training step in float32, on every device that torch can use, against float64 on the CPU."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from support.devices import DEVICES

from css_model import CSS, Batch, ParetoGradientModulator, WeightedSum, collate, losses
from css_model.baselines import BASELINES

from .conftest import WIDTHS, make_dialogue
from .test_baselines import small

CLASS_WEIGHTS = torch.tensor([0.5, 1.0, 2.0, 1.0])


def make_batch() -> Batch:
    dialogues = [make_dialogue(1, 7), make_dialogue(2, 4, missing=1.0), make_dialogue(3, 1)]
    return collate(dialogues, WIDTHS)


def double(batch: Batch) -> Batch:
    return replace(batch, features={name: rows.double() for name, rows in batch.features.items()})


def gradients(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.grad.double().cpu().flatten() for p in model.parameters()])


def assert_same_strides(model: torch.nn.Module) -> None:
    """Fused optimisers on CUDA refuse gradients with other strides than their parameters."""
    assert all(p.grad.stride() == p.stride() for p in model.parameters())


def assert_close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    assert (actual - expected).norm() < 1e-3 * expected.norm()


@pytest.mark.parametrize("theta", ["sketch", "trunk", "repr"])
@pytest.mark.parametrize("device", DEVICES)
def test_css(device: str, theta: str, config) -> None:
    model = CSS(config(dropout=0.0, feature_dropout=0.0)).train()
    exact, batch = copy.deepcopy(model).double(), make_batch()
    model.to(device)
    gammas = []
    for one, data in ((model, batch.to(device)), (exact, double(batch))):
        output = one(data)
        terms = losses(output, data, class_weights=CLASS_WEIGHTS)
        gammas.append(ParetoGradientModulator(one, theta, width=4).backward(terms, output))
    assert torch.allclose(*gammas, atol=1e-3)
    assert_same_strides(model)
    assert_close(gradients(model), gradients(exact))


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("device", DEVICES)
def test_baselines(device: str, name: str) -> None:
    model = small(name).train()
    exact, batch = copy.deepcopy(model).double(), make_batch()
    model.to(device)
    for one, data in ((model, batch.to(device)), (exact, double(batch))):
        output = one(data)
        terms = one.losses(output, data, CLASS_WEIGHTS)
        WeightedSum(one, one.loss_weights).backward(terms, output)
    assert_same_strides(model)
    assert_close(gradients(model), gradients(exact))
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    optimizer.step()
    model.eval()
    assert model(batch.to(device)).logits.isfinite().all()
