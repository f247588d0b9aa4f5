"""One bad input never stops the others, whatever goes wrong."""

import errno
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.paths import ROOT

from pipeline.core.errors import MercError, UsageError
from pipeline.core.failures import Failure, Later, failure_of, run_each
from pipeline.core.progress import add_costs, allow_time


def work(item, stage):
    """Stands for real work; picklable."""
    stage("open")
    stage("think", 0.5)
    if item == "bad":
        raise MercError("bad: has no sound", "give a transcript")
    if item == "full":
        raise OSError(errno.ENOSPC, "cannot write x: No space left on device")
    if item == "bug":
        raise KeyError("missing")
    if item == "crash":
        os._exit(7)
    if item == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    return item.upper()


class Recorder:
    """A `Progress` that keeps what it receives."""

    def __init__(self):
        self.updates, self.finished = [], []

    def start(self, total):
        raise AssertionError("the caller of run_each starts the progress")

    def update(self, index, name, stage, done):
        self.updates.append((index, name, stage, done))

    def finish(self, index, name, failure):
        self.finished.append((index, name, failure))

    def report(self, failure):
        raise AssertionError("no failure precedes the run")


@pytest.mark.parametrize("jobs", [1, 2])
def test_isolation(jobs):
    items = ["a", "bad", "full", "b", "bug", "c"]
    results, failures = run_each(items, work, jobs=jobs)
    assert results == ["A", None, None, "B", None, "C"]
    assert [f.input for f in failures] == ["bad", "full", "bug"]
    assert failures[0] == Failure("bad", "think", "has no sound", "give a transcript")
    assert "--out" in failures[1].remedy
    assert "KeyError" in failures[2].reason and "test_failures.py" in failures[2].reason


@pytest.mark.parametrize("jobs", [1, 2])
def test_progress(jobs):
    recorder = Recorder()
    _, failures = run_each(["a", "bad"], work, jobs=jobs, progress=recorder)
    assert sorted(recorder.updates, key=lambda update: update[0]) == [
        (0, "a", "open", None),
        (0, "a", "think", 0.5),
        (1, "bad", "open", None),
        (1, "bad", "think", 0.5),
    ]
    assert sorted(recorder.finished, key=lambda end: end[0]) == [
        (0, "a", None),
        (1, "bad", failures[0]),
    ]


def burn(seconds):
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def burn_side_by_side(item, stage):
    for name in ("open", "text", "visual"):
        stage(name)
        burn(0.1)
    add_costs(stage, ["text", "visual"])
    stage("write")
    burn(0.1)


@pytest.mark.parametrize("jobs", [1, 2])
def test_costs_are_by_stage_and_added_where_stages_ran_side_by_side(jobs):
    costs = {}
    run_each(["a", "b"], burn_side_by_side, jobs=jobs, costs=costs)
    assert list(costs) == ["start", "open", "text + visual", "write"]
    assert costs["start"] < 0.1 and 0.2 <= costs["open"] < 0.4 and 0.2 <= costs["write"] < 0.4
    assert 0.4 <= costs["text + visual"] < 0.8


def test_a_dying_process_costs_one_item():
    results, failures = run_each(["crash", "a", "killed", "b", "c", "d"], work, jobs=2)
    assert results == [None, "A", None, "B", "C", "D"]
    assert [(f.input, f.stage) for f in failures] == [("crash", "think"), ("killed", "think")]
    assert "memory" in failures[1].reason


def hang_or_upper(item, stage):
    stage("open")
    allow_time(stage, 0.1)
    if item == "hang":
        time.sleep(60)
    return item.upper()


def test_a_hanging_process_is_stopped_and_reported(monkeypatch):
    monkeypatch.setenv("MERC_TIME_LIMIT", "0.1")  # 1.01 s for the item
    results, failures = run_each(["hang", "a", "b"], hang_or_upper, jobs=2)
    assert results == [None, "A", "B"]
    assert failures[0].stage == "open" and "within 1 s" in failures[0].reason
    assert "MERC_TIME_LIMIT" in failures[0].remedy
    for bad in ("0", "-1", "x", "nan"):
        monkeypatch.setenv("MERC_TIME_LIMIT", bad)
        with pytest.raises(UsageError, match="MERC_TIME_LIMIT"):
            run_each(["a"], hang_or_upper)
    monkeypatch.delenv("MERC_TIME_LIMIT")
    monkeypatch.setenv("MERC_MEMORY_LIMIT", "much")
    with pytest.raises(UsageError, match="MERC_MEMORY_LIMIT=much"):
        run_each(["a", "b"], hang_or_upper, jobs=2)


def put_off(item, stage):
    stage("open")
    return item.upper() if item != "busy" or stage.again else Later()


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_item_that_another_process_has_in_work_comes_last(jobs):
    recorder = Recorder()
    results, failures = run_each(["busy", "a", "b"], put_off, jobs=jobs, progress=recorder)
    assert results == ["BUSY", "A", "B"] and not failures
    assert len(recorder.finished) == 3 and recorder.finished[-1] == (0, "busy", None)


def note_order(item, stage):
    """Append the item to a file."""
    path, size = item
    with path.open("a") as file:
        file.write(f"{size}\n")
    return os.getpid()


def test_automatic_jobs_leave_this_process_alone_and_begin_with_the_largest(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0}, raising=False)
    path = tmp_path / "order"
    items = [(path, size) for size in (2, 9, 5)]
    pids, _ = run_each(items, note_order, jobs=None, size=lambda item: item[1])
    assert path.read_text().split() == ["9", "5", "2"]
    assert len(set(pids)) == 1 and os.getpid() not in pids
    alone, _ = run_each(items[:1], note_order, jobs=None)
    assert alone == [os.getpid()]
    apart, _ = run_each(items[:1], note_order, jobs=1, isolate=True)
    assert apart != [os.getpid()]


@dataclass(frozen=True)
class Loads:
    """Work whose models cannot be loaded, from the moment on that `missing` exists."""

    missing: Path
    error: Exception

    def check(self):
        if self.missing.exists():
            raise self.error

    def __call__(self, item, stage):
        if item == "lose":
            self.missing.touch()
            os._exit(1)
        return item


@pytest.mark.parametrize("isolate", [False, True])
def test_what_would_fail_with_every_item_ends_the_run(tmp_path, isolate):
    for error in (UsageError("no weights", "install them"), ImportError("no such library")):
        with pytest.raises(MercError, match=str(error)) as raised:
            run_each(["a"], Loads(tmp_path, error), isolate=isolate)
        assert raised.value.remedy


def test_a_process_that_cannot_load_the_models_again_is_a_failure_of_its_item(tmp_path):
    work = Loads(tmp_path / "gone", UsageError("no weights", "install them"))
    results, failures = run_each(["a", "lose"], work, isolate=True)
    assert results == ["a", None]
    assert failures == [Failure("lose", "start", "no weights", "install them")]


def test_reason_and_remedy_of_an_error():
    error = MercError("x.mp4: it is 3; not 4", "cut it")
    expected = Failure("in/x.mp4", "open", "it is 3; not 4", "cut it")
    assert failure_of("in/x.mp4", "open", error) == expected
    plain = failure_of("x", "open", ValueError("it is 3; not 4"))  # no message is ever split
    assert plain.reason == "it is 3; not 4" and plain.remedy
    assert failure_of("x", "open", PermissionError(errno.EACCES, "Permission denied", "x")).remedy
    assert failure_of("x", "open", ValueError("")).reason
    assert failure_of("x", "open", MemoryError()).reason == "out of memory"
    assert failure_of("x", "open", MercError("no sound")).remedy


SLEEPER = """
import signal, sys, time
from pathlib import Path
from pipeline.core.failures import run_each
def work(item, stage):
    Path(item).write_text("begun")
    try:
        time.sleep(60)
    finally:
        Path(item).unlink()
if __name__ == "__main__":
    # a background job of a shell ignores SIGINT
    signal.signal(signal.SIGINT, signal.default_int_handler)
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
    # Ctrl-C in a terminal sends SIGINT to the whole process group
    os.killpg(process.pid, signal.SIGINT)
    errors = process.communicate(timeout=30)[1]
    # the workers print nothing
    assert errors.count("Traceback") == 1 and "KeyboardInterrupt" in errors
    assert not any(mark.exists() for mark in marks)
    with pytest.raises(ProcessLookupError):  # no process of the group is left
        while time.monotonic() < deadline:
            os.killpg(process.pid, 0)
