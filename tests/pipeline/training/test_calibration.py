"""Temperatures are recovered, and change no label under a uniform prior."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from pipeline.training.calibration import BINS, calibration_error, fit_temperature
from pipeline.training.predictor import apply_temperature


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_recovered(temperature: float) -> None:
    rng = np.random.default_rng(0)
    prior = log_softmax(np.array([2.0, 0.0, -1.0]))
    evidence = rng.normal(0, 1.5, (20_000, 3))
    labels = np.array([rng.choice(3, p=p) for p in softmax(prior + evidence, axis=1)])
    fitted = fit_temperature(prior + temperature * evidence, labels, prior)
    assert fitted == pytest.approx(temperature, rel=0.08)


def test_without_the_prior_no_label_changes() -> None:
    rng = np.random.default_rng(1)
    logits, prior = rng.normal(0, 3, (500, 7)), log_softmax(rng.normal(0, 2, 7))
    labels = (logits - prior).argmax(1)
    for temperature in (0.2, 1.0, 9.0):
        scaled = apply_temperature(logits, prior, temperature)
        assert np.array_equal((scaled - prior).argmax(1), labels)
    assert np.allclose(apply_temperature(logits, prior, 1.0), logits)


def test_calibration_error_is_that_of_its_definition() -> None:
    rng = np.random.default_rng(2)
    confidence = rng.uniform(0.15, 1, 400)
    correct = rng.random(400) < confidence**2
    expected = 0.0
    for low in np.arange(BINS) / BINS:
        inside = (confidence >= low) & (confidence < low + 1 / BINS)
        if inside.any():
            expected += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    assert calibration_error(confidence, correct) == pytest.approx(expected, abs=1e-6)


def test_calibration_error_of_the_calibrated_and_of_the_overconfident() -> None:
    rng = np.random.default_rng(3)
    confidence = rng.uniform(0.2, 1, 50_000)
    assert calibration_error(confidence, rng.random(50_000) < confidence) < 0.01
    certain = np.ones(10)
    assert calibration_error(certain, np.arange(10) < 7) == pytest.approx(0.3)
