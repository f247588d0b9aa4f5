"""Recordings whose names are not UTF-8 stay distinct, in UTF-8 files of every format."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.results import result

from pipeline.core.failure_list import write_failures
from pipeline.core.failures import Failure, printable
from pipeline.exports import FORMATS, write_result

NAMES = (b"caf\xe9.mp4", b"caf\xe8.mp4")
WITH_NAME = ("json", "jsonl", "parquet", "eaf", "rttm")  # the others hold no name of a recording


@pytest.mark.parametrize("format", FORMATS)
def test_names_that_are_not_utf8(format: str, tmp_path: Path) -> None:
    written = []
    for name in map(os.fsdecode, NAMES):
        content = result([(0.0, 1.0, "Ann", "hello")]) | {"media": name}
        recording = tmp_path / name
        [path] = write_result(content, recording, tmp_path / Path(name).stem, [format])
        written.append(path.read_bytes())
        if format != "parquet":
            written[-1].decode("utf-8")
    assert (written[0] != written[1]) == (format in WITH_NAME)
    escapes = {"eaf": b"caf%E9.mp4", "rttm": rb"caf\xe9", "parquet": rb"caf\xe9.mp4"}
    if format in WITH_NAME:
        assert escapes.get(format, rb"caf\\xe9.mp4") in written[0]


def test_failures_csv(tmp_path: Path) -> None:
    names = [printable(os.fsdecode(name)) for name in NAMES]
    path = write_failures([Failure(name, "open", "bad", "mend") for name in names], tmp_path, [])
    assert path is not None
    text = path.read_bytes().decode("utf-8-sig")
    assert r"caf\xe9.mp4" in text and r"caf\xe8.mp4" in text
