"""One bad input never stops the others, however it goes wrong."""

import csv
import errno
import os
import signal
import subprocess
import sys
import time

import pytest
from support.paths import ROOT

from pipeline.core.failures import Failure, failure_of, run_each, write_failures


def work(item, tell):
    """A stand-in for a stage of real work, picklable."""
    tell("open")
    tell("think", 0.5)
    if item == "bad":
        raise ValueError("bad: has no sound; give a transcript")
    if item == "full":
        raise OSError(errno.ENOSPC, "cannot write x: No space left on device")
    if item == "bug":
        raise KeyError("lost")
    if item == "crash":
        os._exit(7)
    if item == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    return item.upper()


@pytest.mark.parametrize("jobs", [1, 2])
def test_isolation(jobs):
    items = ["a", "bad", "full", "b", "bug", "c"]
    results, failures = run_each(items, work, jobs=jobs)
    assert results == ["A", None, None, "B", None, "C"]
    assert [f.input for f in failures] == ["bad", "full", "bug"]
    assert failures[0] == Failure("bad", "think", "has no sound", "give a transcript")
    assert "--out" in failures[1].remedy
    assert "KeyError" in failures[2].reason and "test_failures.py" in failures[2].reason


def test_a_dying_process_costs_one_item():
    results, failures = run_each(["crash", "a", "killed", "b", "c", "d"], work, jobs=2)
    assert results == [None, "A", None, "B", "C", "D"]
    assert [(f.input, f.stage) for f in failures] == [("crash", "think"), ("killed", "think")]
    assert "memory" in failures[1].reason


def test_message_splits_into_reason_and_remedy():
    error = ValueError("x.mp4: it is 3; not 4; cut it")
    assert failure_of("in/x.mp4", "open", error) == Failure(
        "in/x.mp4", "open", "it is 3; not 4", "cut it"
    )
    assert failure_of("x", "open", PermissionError(errno.EACCES, "Permission denied", "x")).remedy
    assert failure_of("x", "open", ValueError("")).reason


def test_failures_csv(tmp_path):
    failure = Failure('a "b", c\n.mp4', "open", "bad", "mend")
    path = write_failures([failure], tmp_path)
    assert list(csv.reader(path.open(newline=""))) == [
        ["input", "stage", "reason", "remedy"],
        ['a "b", c\n.mp4', "open", "bad", "mend"],
    ]
    assert write_failures([], tmp_path) is None and not path.exists()
    path.write_text("my,own,list\n")
    other = write_failures([failure], tmp_path)
    assert other != path and path.read_text() == "my,own,list\n"
    write_failures([], tmp_path)
    assert path.exists() and not other.exists()


SLEEPER = """
import signal, sys, time
from pathlib import Path
from pipeline.core.failures import run_each
def work(item, tell):
    Path(item).write_text("begun")
    try:
        time.sleep(60)
    finally:
        Path(item).unlink()
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is told to ignore it
    run_each(sys.argv[2:], work, jobs=int(sys.argv[1]))
"""


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_interruption_ends_the_workers_and_cleans_up(tmp_path, jobs):
    script = tmp_path / "sleeper.py"
    script.write_text(SLEEPER)
    marks = [tmp_path / "one", tmp_path / "two"][: int(jobs)]
    process = subprocess.Popen(
        [sys.executable, str(script), jobs, *map(str, marks)],
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not all(mark.exists() for mark in marks) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # what Ctrl-C in a terminal does: to the whole group
    errors = process.communicate(timeout=30)[1]
    assert (
        errors.count("Traceback") == 1 and "KeyboardInterrupt" in errors
    )  # the parent alone speaks
    assert not any(mark.exists() for mark in marks)
    with pytest.raises(ProcessLookupError):  # nobody of the group is left
        while time.monotonic() < deadline:
            os.killpg(process.pid, 0)
