"""Two processes of torchrun give what one gives."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from support.paths import ROOT
from support.training import TINY

from pipeline.corpora.table import load_table
from pipeline.training.config import load_configuration
from pipeline.training.train import train_corpus

TORCHRUN = [
    "-m",
    "torch.distributed.run",
    "--standalone",
    "--nproc-per-node=2",
    "--no-python",
    sys.executable,
]


def test_torchrun_with_two_processes_equals_one(table: Path, tmp_path: Path) -> None:
    """The whole command, without dropout: each rank draws its own dropout masks.

    The last batch has one dialogue, which leaves a rank without data.
    """
    settings = [*TINY, "train.batch=23", "model.dropout=0", "train.class_weights=inverse"]
    config = load_configuration(str(table), settings)
    train_corpus(load_table(table), config, "clean", 1, tmp_path / "one")

    command = ["-c", "from pipeline.cli.app import main; main()", "train", "--seeds", "1"]
    command += ["--dataset", str(table), "--out", str(tmp_path / "two")]
    command += [part for value in settings for part in ("--set", value)]
    result = subprocess.run(
        [sys.executable, *TORCHRUN, *command],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert result.returncode == 0, result.stderr
    histories = [
        np.loadtxt(tmp_path / name / "history.csv", delimiter=",", skiprows=1)
        for name in ("one", "two")
    ]
    np.testing.assert_allclose(histories[1], histories[0], rtol=1e-3, atol=1e-4)
    one, two = (_probabilities(tmp_path / name) for name in ("one", "two"))
    np.testing.assert_allclose(two, one, atol=2e-3)


def _probabilities(run: Path) -> np.ndarray:
    with (run / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    return np.array([[float(row[k]) for k in row if k.startswith("p_")] for row in rows])
