"""The examples in the docstrings of css_model run."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest

import css_model

MODULES = ("batch", "config", "encoder", "fusion", "min_norm", "model", "objectives", "pareto")


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_the_docstrings(name: str) -> None:
    failed, attempted = doctest.testmod(import_module(f"css_model.{name}"))
    assert attempted and not failed


def test_main_names_have_an_example() -> None:
    for name in (
        "CSS",
        "CSSConfig",
        "ParetoGradientModulator",
        "SynergisticPolynomialFusion",
        "min_norm_weights",
    ):
        assert ">>>" in (getattr(css_model, name).__doc__ or ""), name
