"""A small corpus, its table, and a run trained on it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.training import tiny

from pipeline.core.dialogue import Corpus
from pipeline.corpora.synthetic import make_synthetic
from pipeline.corpora.table import save_table
from pipeline.training.train import train


@pytest.fixture(scope="session")
def corpus() -> Corpus:
    return make_synthetic(24, 6, 8, 6)


@pytest.fixture(scope="session")
def run(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of both protocols, its two seeds trained in this process."""
    out = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "sched_getaffinity", lambda pid: {0}, raising=False)  # one core
        train(corpus, tiny(), "both", 2, out)
    return out


@pytest.fixture(scope="session")
def table(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables") / "table"
    save_table(corpus, folder)
    return folder
