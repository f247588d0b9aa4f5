"""Ada2I's gradient scaling: which gradients it scales, and by how much."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import softmax

from css_model import CSS, collate, losses, make_modulator
from css_model.balance import discrepancy_factors
from css_model.directions import BALANCE


@pytest.fixture
def case(config, dialogue):
    model = CSS(config(dropout=0.0))
    batch = collate([dialogue(1, 9), dialogue(2, 4, missing=0.6)])
    output = model(batch)
    return model, batch, output, losses(output, batch)


def test_scores_are_the_probabilities_of_the_true_class(case) -> None:
    _, batch, output, terms = case
    for name, logits in output.unimodal.items():
        right = [
            softmax(logits[n].detach().numpy())[label]
            for n, label in enumerate(batch.labels.tolist())
            if label >= 0 and batch.present[name][n]
        ]
        total, count = terms.scores[name].tolist()
        assert count == len(right) and total == pytest.approx(sum(right), rel=1e-5)


def test_the_encoder_of_the_modality_ahead_is_scaled(case) -> None:
    """Its gradients shrink by 1 - tanh(α ρ); all others are those of the plain sum."""
    model, _, output, terms = case
    terms.scores = {
        "text": torch.tensor([6.0, 10.0]),
        "audio": torch.tensor([1.0, 5.0]),
        "visual": torch.tensor([1.0, 10.0]),
    }
    plain = torch.autograd.grad(
        sum(terms), list(model.parameters()), retain_graph=True, allow_unused=True
    )
    gamma = make_modulator("ada2i", model).backward(terms, output)
    assert gamma.tolist() == [1, 1, 1]
    # means .6, .2 and .1
    factors = {"text": 1 - np.tanh(BALANCE * 0.6 / 0.15), "audio": 1.0, "visual": 1.0}
    kept = ("project", "mae", "iae", "output")
    for (name, parameter), gradient in zip(model.named_parameters(), plain, strict=True):
        part = name.split(".")
        own = part[0] == "encoder" and part[1] in kept
        expected = gradient * (factors[part[2]] if own else 1)
        assert torch.allclose(parameter.grad, expected, rtol=1e-4, atol=1e-7), name


def test_factors() -> None:
    assert discrepancy_factors({"text": 0.9}, 1.0) == {"text": 1.0}
    assert discrepancy_factors({"text": 0.5, "audio": 0.5}, 1.0) == {"text": 1.0, "audio": 1.0}
    assert discrepancy_factors({"text": 0.9, "audio": 0.1}, 0.0) == {"text": 1.0, "audio": 1.0}
    assert discrepancy_factors({"text": 0.0, "audio": 0.0}, 1.0) == {"text": 1.0, "audio": 1.0}
    factors = discrepancy_factors({"text": 0.6, "audio": 0.3, "visual": 0.1}, 0.5)
    assert factors["text"] == pytest.approx(1 - np.tanh(0.5 * 3))
    assert factors["audio"] == factors["visual"] == 1.0
