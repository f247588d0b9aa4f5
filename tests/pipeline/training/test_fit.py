"""A training that was killed resumes and ends with the same files."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.training import tiny

from pipeline.core.dialogue import Corpus
from pipeline.training.fit import fit
from pipeline.training.protocols import split_corpus


class Killed(Exception):
    pass


def test_an_interrupted_training_ends_with_the_same_files(corpus: Corpus, tmp_path: Path) -> None:
    config = tiny("model.feature_dropout=0.3", "model.dropout=0.5", "train.average=0.9")
    parts = split_corpus(corpus, config.data, "clean")
    fit(parts, config, 7, tmp_path / "whole")

    def kill(row: dict) -> None:
        raise Killed

    for _ in range(3):  # each time after an epoch and before its checkpoint is written
        with pytest.raises(Killed):
            fit(parts, config, 7, tmp_path / "cut", kill)
    epochs: list[int] = []

    def kill_later(row: dict) -> None:
        epochs.append(row["epoch"])
        if len(epochs) == 2:
            raise Killed

    with pytest.raises(Killed):
        fit(parts, config, 7, tmp_path / "cut", kill_later)
    fit(parts, config, 7, tmp_path / "cut", lambda row: epochs.append(row["epoch"]))
    assert epochs == [1, 2, 2, 3]
    for name in ("model.safetensors", "history.json"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
