"""Fixtures that find the real material; where it is absent the tests that need it skip loudly."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real clips and data: $MERC_SHARED, or `shared` beside the checkout."""
    folder = Path(os.environ.get("MERC_SHARED", ROOT.parent / "shared"))
    if not (folder / "media").is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"no material under {folder}; CI must have it")
        pytest.skip(f"NO REAL MATERIAL: put it in {folder} or name its folder in MERC_SHARED")
    return folder


@pytest.fixture(scope="session")
def media(shared: Path) -> Path:
    return shared / "media"
