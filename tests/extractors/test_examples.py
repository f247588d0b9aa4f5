"""The examples in the docstrings of the extractors run."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest

from extractors import AudioExtractor, TextExtractor

MODULES = ("audio", "detectors", "face_span", "faces", "text")


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_the_docstrings(name: str) -> None:
    failed, attempted = doctest.testmod(import_module(f"extractors.{name}"))
    assert attempted and not failed


def test_public_extractors_have_an_example() -> None:
    for extractor in (TextExtractor, AudioExtractor):
        assert ">>>" in (extractor.__doc__ or "")
