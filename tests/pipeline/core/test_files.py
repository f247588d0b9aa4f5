"""Atomic files, folders, JSON."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.core import files


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "new" / "x.txt"
    files.write_text(path, "old é")
    assert path.read_bytes() == "old é".encode() and path.stat().st_mode & 0o600 == 0o600

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(OSError, match=r"x\.txt: cannot be written: the disk is full") as error:
        files.write_text(path, "new")
    assert error.value.errno == 28
    assert path.read_text("utf-8") == "old é"
    assert [item.name for item in path.parent.iterdir()] == ["x.txt"]  # no temporary file


def test_a_file_in_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"x\.txt: cannot be written: a file is in the way"):
        files.write_text(tmp_path / "file" / "x.txt", "new")


def test_folders_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    monkeypatch.setattr(files.os, "name", "posix")
    assert files.cache_folder() == Path("/c/merc")
    monkeypatch.delenv("MERC_DATA", raising=False)
    assert files.data_folder(None) is None
    monkeypatch.setenv("MERC_DATA", "/d")
    assert files.data_folder(None) == Path("/d") and files.data_folder(Path("e")) == Path("e")


def test_json_ready():
    value = {1: np.float32("nan"), "n": np.int64(3), "rows": (np.float64(0.5), float("inf"), True)}
    ready = files.json_ready(value)
    assert ready == {"1": None, "n": 3, "rows": [0.5, None, True]}
    assert json.loads(json.dumps(ready, allow_nan=False)) == ready
