"""Claiming the folder of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.core.errors import UsageError
from pipeline.core.files import write_text
from pipeline.core.run_folder import (
    begin_run,
    check_run_folder,
    claim_run,
    copy_into,
    end_run,
    find_run,
)


def test_a_run_begins_resumes_and_finishes(tmp_path: Path) -> None:
    out = tmp_path / "run"
    check_run_folder(out)
    assert find_run(out, "a") is None and not out.exists()
    work = begin_run(out, "a")
    write_text(work / "seed-0" / "checkpoint.pt", "x")
    assert begin_run(out, "a") == work
    check_run_folder(out)
    assert find_run(out, "a") is None and (work / "seed-0" / "checkpoint.pt").exists()
    write_text(out / "metrics.json", '{"identity": "a", "accuracy": 1}')
    assert find_run(out, "a") == {"identity": "a", "accuracy": 1}
    assert not work.exists()
    check_run_folder(out)


def test_another_run_is_not_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "run"
    write_text(begin_run(out, "b") / "rest", "x")
    assert find_run(out, "a") is None  # "b" has left nothing worth keeping
    work = begin_run(out, "a")
    assert not (work / "rest").exists()
    write_text(work / "seed-0" / "checkpoint.pt", "x")
    with pytest.raises(UsageError, match="unfinished run with other data or settings"):
        find_run(out, "b")
    write_text(out / "metrics.json", '{"identity": "a"}')
    end_run(out)
    with pytest.raises(UsageError, match="another run"):
        find_run(out, "b")


def test_other_content_is_not_a_run(tmp_path: Path) -> None:
    write_text(tmp_path / "folder" / "notes.txt", "x")
    write_text(tmp_path / "file", "x")
    for out in (tmp_path / "folder", tmp_path / "file"):
        with pytest.raises(UsageError, match="holds no run"):
            check_run_folder(out)
        with pytest.raises(UsageError, match="holds no run"):
            find_run(out, "a")


def test_copy_into_replaces(tmp_path: Path) -> None:
    write_text(tmp_path / "source", "new")
    write_text(tmp_path / "target", "old")
    copy_into(tmp_path / "source", tmp_path / "target")
    assert (tmp_path / "target").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target"]


def test_a_folder_is_trained_in_once_at_a_time(tmp_path):
    out = tmp_path / "run"
    begin_run(out, "a")
    with claim_run(out):
        assert find_run(out, "a") is None
        begin_run(out, "a")  # as another process does before it claims the run
        with pytest.raises(UsageError, match="another process is training in it"):
            with claim_run(out):
                pass
    with claim_run(out):
        end_run(out)
    assert list(out.iterdir()) == []
    begin_run(out, "a")
    left = out / ".work" / ".claims" / "training"
    left.parent.mkdir()
    left.touch()  # of a killed process
    assert find_run(out, "a") is None
    with claim_run(out):
        pass
    left.parent.mkdir()
    left.touch()
    assert find_run(out, "b") is None  # there is nothing to lose
