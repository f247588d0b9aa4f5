"""Fixtures that find real clips and data; without them, the tests that need them are skipped."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MERC_JOBS", "0")  # in this process, which has the models loaded


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of real clips and data: $MERC_SHARED, or `shared` next to the checkout."""
    folder = Path(os.environ.get("MERC_SHARED", ROOT.parent / "shared"))
    if not (folder / "media").is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"no clips and data in {folder}; CI needs them")
        pytest.skip(f"no clips and data in {folder}; put them there or set MERC_SHARED")
    return folder


@pytest.fixture(scope="session")
def media(shared: Path) -> Path:
    """Return the folder of real clips."""
    return shared / "media"
