"""Small models and random dialogues."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from css_model import CSSConfig

WIDTHS = (("text", 12), ("audio", 20), ("visual", 9))
LABELS = ("angry", "happy", "neutral", "sad")


def make_dialogue(
    seed: int, length: int, missing: float = 0.25, widths=WIDTHS, speakers: int = 3
) -> SimpleNamespace:
    """Return a random dialogue; a fifth of its labels are unknown."""
    generator = np.random.default_rng(seed)
    features = {
        name: generator.standard_normal((length, width)).astype(np.float32)
        for name, width in widths
    }
    for rows in features.values():
        rows[generator.random(length) < missing] = np.nan
    return SimpleNamespace(
        id=f"d{seed}",
        features=features,
        speakers=[f"s{i}" for i in generator.integers(0, speakers, length)],
        labels=np.where(generator.random(length) < 0.2, -1, generator.integers(0, 4, length)),
    )


@pytest.fixture
def dialogue():
    return make_dialogue


@pytest.fixture
def config():
    """Return a factory of small configurations; its arguments override fields."""

    def build(**fields) -> CSSConfig:
        sizes = {"d": 24, "heads": 4, "hidden": 32, "rank": 8}
        return CSSConfig(**{"widths": WIDTHS, "labels": LABELS} | sizes | fields)

    return build


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)
