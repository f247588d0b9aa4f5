"""Small settings and edited corpora for tests that train."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pipeline.core.dialogue import Corpus, Dialogue
from pipeline.training.config import Configuration, load_configuration

TINY = [
    "model.d=16",
    "model.heads=2",
    "model.hidden=16",
    "model.rank=4",
    "train.epochs=3",
    "train.batch=8",
    "train.lr=5e-3",
    "train.threads=1",
]


def tiny(*overrides: str) -> Configuration:
    """Return settings for a model that trains within seconds."""
    return load_configuration("synthetic", [*TINY, *overrides])


def edited(corpus: Corpus, change: Callable[[Dialogue], Dialogue]) -> Corpus:
    """Return the corpus with every dialogue changed."""
    return replace(corpus, dialogues=[change(dialogue) for dialogue in corpus.dialogues])
