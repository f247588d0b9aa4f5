"""The examples in the docstrings of the corpora and of loading."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

MODULES = (
    "corpora.how_to_get",
    "corpora.meld_release",
    "corpora.pickled_values",
    "corpora.source",
    "corpora.splits",
    "corpora.synthetic",
    "corpora.table",
    "corpora.unpickle",
    "loading",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    failed, attempted = doctest.testmod(import_module(f"pipeline.{name}"))
    assert attempted and not failed
