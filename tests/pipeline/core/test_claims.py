"""Claims hold for one process at a time, end with it, and leave nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT

from pipeline.core.claims import CLAIMS, claimed, remove_claims

HOLDER = """
import sys, time
from pathlib import Path
from pipeline.core.claims import claimed
with claimed(Path(sys.argv[1]), "one") as mine:
    print(mine, flush=True)
    time.sleep(60)
"""
LINUX = pytest.mark.skipif(os.name == "nt", reason="no locks that end with their process")


def test_a_claim_is_exclusive_and_leaves_nothing(tmp_path: Path) -> None:
    with claimed(tmp_path / "store", "one") as mine:
        with claimed(tmp_path / "store", "one") as again, claimed(tmp_path / "store", "two") as two:
            assert (mine, again, two) == (True, False, True)
        with claimed(tmp_path / "store", "one") as again:
            assert not again  # the claim that was refused did not remove it
    with claimed(tmp_path / "store", "one") as mine:
        assert mine
    assert list(tmp_path.rglob("*")) == [tmp_path / "store"]


@LINUX
def test_a_claim_ends_with_its_process(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        assert process.stdout and process.stdout.readline() == "True\n"
        with claimed(tmp_path, "one") as mine:
            assert not mine
        remove_claims(tmp_path)
        assert (tmp_path / CLAIMS / "one").exists()
    finally:
        process.kill()
        process.wait()
    assert (tmp_path / CLAIMS / "one").exists()
    remove_claims(tmp_path)
    assert not (tmp_path / CLAIMS).exists()


def test_a_folder_that_cannot_be_written_hinders_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with claimed(tmp_path / "file", "one") as mine:
        assert mine
