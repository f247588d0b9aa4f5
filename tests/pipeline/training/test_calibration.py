"""Temperatures: found again where they are known, and harmless to labels once the prior is taken away."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from pipeline.training.calibration import _best
from pipeline.training.predictor import tempered


@pytest.mark.parametrize("heat", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_found(heat: float):
    rng = np.random.default_rng(0)
    prior = log_softmax(np.array([2.0, 0.0, -1.0]))
    evidence = rng.normal(0, 1.5, (20_000, 3))
    truth = np.array([rng.choice(3, p=p) for p in softmax(prior + evidence, axis=1)])
    assert _best(prior + heat * evidence, truth, prior) == pytest.approx(heat, rel=0.08)


def test_without_the_prior_no_label_changes():
    rng = np.random.default_rng(1)
    logits, prior = rng.normal(0, 3, (500, 7)), log_softmax(rng.normal(0, 2, 7))
    labels = (logits - prior).argmax(1)
    for heat in (0.2, 1.0, 9.0):
        assert np.array_equal((tempered(logits, prior, heat) - prior).argmax(1), labels)
    assert np.allclose(tempered(logits, prior, 1.0), logits)
