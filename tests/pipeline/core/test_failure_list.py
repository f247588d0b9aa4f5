"""`failures.csv`: each run replaces the rows of its own inputs and keeps those of others."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from pipeline.core.failure_list import write_failures
from pipeline.core.failures import Failure, printable

HEADER = ["input", "stage", "reason", "remedy"]


def failure(name: object, reason: str = "bad") -> Failure:
    return Failure(printable(name), "open", reason, "mend")


def rows(folder: Path) -> list[list[str]]:
    with (folder / "failures.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def listed(folder: Path) -> list[str]:
    return [row[0] for row in rows(folder)[1:]]


def test_one_run(tmp_path: Path) -> None:
    row = Failure('a "b", c\n.mp4', "open", "bad", "mend")
    path = write_failures([row], tmp_path, [row.input])
    assert path == tmp_path / "failures.csv"
    assert rows(tmp_path) == [HEADER, ['a "b", c\n.mp4', "open", "bad", "mend"]]
    assert write_failures([], tmp_path, [row.input]) is None and not path.exists()


def test_a_run_replaces_the_rows_of_its_inputs_only(tmp_path: Path) -> None:
    write_failures([failure("a.mp4"), failure("b.mp4")], tmp_path, ["a.mp4", "b.mp4"])
    assert write_failures([], tmp_path, ["c.mp4"]) is None
    assert listed(tmp_path) == ["a.mp4", "b.mp4"]
    write_failures([failure("a.mp4", "worse")], tmp_path, ["a.mp4", "c.mp4"])
    assert [row[:3] for row in rows(tmp_path)[1:]] == [
        ["b.mp4", "open", "bad"],
        ["a.mp4", "open", "worse"],
    ]
    write_failures([], tmp_path, [Path("b.mp4").absolute()])  # another spelling
    assert listed(tmp_path) == ["a.mp4"]
    assert write_failures([], tmp_path, ["a.mp4"]) is None
    assert not (tmp_path / "failures.csv").exists()


@pytest.mark.parametrize(
    ("name", "given", "same"),
    [
        ("talks/day 1/a.mp4", "talks", True),  # deleted since, or found in the folder again
        ("talks/a.mp4", "./talks/", True),
        ("talks/a.mp4", ".", True),
        ("talks2/a.mp4", "talks", False),
        ("a.mp4", "talks", False),
        ("talks", "talks/a.mp4", False),
        ("s3://bucket/talks/a.mp4", Path("s3://bucket/talks"), True),
        ("s3://bucket/talks2/a.mp4", "s3://bucket/talks", False),
        ("caf\udce9\n/a.mp4", "caf\udce9\n", True),
        ("-=1.mp4", "-=1.mp4", True),  # written with a leading space
    ],
)
def test_inputs_are_compared_as_paths(name: str, given: str, same: bool, tmp_path: Path) -> None:
    write_failures([failure(name)], tmp_path, [])
    write_failures([], tmp_path, [given])
    assert (tmp_path / "failures.csv").exists() is not same


def test_kept_rows_do_not_change(tmp_path: Path) -> None:
    names = ["-=1.mp4", " a.mp4", "=x", "caf\udce9\n.mp4", 'a "b", c.mp4']
    write_failures([failure(name) for name in names], tmp_path, [])
    before = rows(tmp_path)
    for number in range(3):
        write_failures([failure("other.mp4", str(number))], tmp_path, [])
        assert rows(tmp_path)[:-1] == before


def test_a_list_that_does_not_change_is_not_written(tmp_path: Path) -> None:
    path = write_failures([failure("a.mp4")], tmp_path, [])
    assert path is not None
    before = path.stat()
    write_failures([], tmp_path, ["b.mp4"])
    assert path.stat().st_ino == before.st_ino  # writing renames a new file


@pytest.mark.parametrize("content", [b"my,own,list\n", b"", b"\xff\xfe\x00\x01"])
def test_a_file_of_somebody_else_stays(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "failures.csv"
    path.write_bytes(content)
    other = write_failures([failure("a.mp4")], tmp_path, [])
    assert other == tmp_path / "failures.merc.csv" and path.read_bytes() == content
    write_failures([], tmp_path, ["a.mp4"])
    assert path.exists() and not other.exists()
