"""`import css_model` has all names, and needs no torch until one is used that does."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
from support.imports import run_alone

import css_model

WEIGHTS = Path(css_model.__file__).parent / "weights" / "merc-offline.safetensors"
READING = f"""
import css_model
from css_model import BaseConfig, Checkpoint, CSSConfig, Normaliser
from css_model.rows import feature_rows
from css_model.stored import read_checkpoint
checkpoint = read_checkpoint({str(WEIGHTS)!r})
assert checkpoint.config.MODEL == "css" and checkpoint.state
"""


def test_reading_a_checkpoint_needs_no_torch() -> None:
    assert "torch" not in run_alone(READING)[1]


def test_names_are_those_of_their_modules() -> None:
    """Whatever has been imported before: a module named like a function would hide it."""
    folder = Path(css_model.__file__).parent
    for path in folder.glob("*.py"):
        import_module(f"css_model.{path.stem}" if path.stem != "__init__" else "css_model")
    listed = [name for names in css_model._NAMES.values() for name in names]
    assert sorted(listed) == sorted(css_model.__all__)
    for module, names in css_model._NAMES.items():
        for name in names:
            expected = getattr(import_module(f"css_model.{module}"), name)
            assert getattr(css_model, name) is expected
    with pytest.raises(AttributeError, match="no attribute 'missing'"):
        css_model.missing  # noqa: B018
