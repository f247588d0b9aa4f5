"""The process pool: messages, dying workers, and workers that end with their parent."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.paths import ROOT

from pipeline.core.errors import UsageError
from pipeline.core.resources import usable_cores
from pipeline.core.workers import WorkerDied, map_items


def work(item, send):
    """Stands for real work; picklable."""
    send("begin", item)
    send("end")
    if item == "exit":
        os._exit(7)
    if item == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "raise":
        raise RuntimeError("an error that work should have returned")
    return item, os.getpid()


def sleep(item, send):
    """Write the process id to the file `item`, then work for a minute."""
    Path(item).write_text(str(os.getpid()))
    time.sleep(60)


def wait_for(path):
    deadline = time.monotonic() + 60
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int(path.read_text())


def is_running(pid):
    """A zombie that nobody has reaped yet does not run."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_and_messages_belong_to_their_items(jobs):
    items, messages = list("abcde"), {}

    def on_message(index, *message):
        messages.setdefault(index, []).append(message)

    results = dict(map_items(work, items, jobs, on_message))
    assert [results[index][0] for index in range(5)] == items
    assert messages == {k: [("begin", item), ("end",)] for k, item in enumerate(items)}
    pids = {pid for _, pid in results.values()}
    assert pids == {os.getpid()} if jobs == 1 else os.getpid() not in pids and len(pids) <= 2


def test_no_items_and_more_jobs_than_items():
    assert list(map_items(work, [], 4)) == []
    assert [(k, item) for k, (item, _) in map_items(work, ["a"], 4)] == [(0, "a")]
    with pytest.raises(UsageError, match="--jobs 0"):
        list(map_items(work, ["a"], 0))


def test_the_death_of_a_worker_costs_its_item_only(capfd):
    items = ["exit", "a", "kill", "b", "raise", "c"]
    results = dict(map_items(work, items, 2))
    assert results[0] == WorkerDied(7) and results[2] == WorkerDied(-signal.SIGKILL)
    assert results[4] == WorkerDied(1) and "should have returned" in capfd.readouterr().err
    assert [results[index][0] for index in (1, 3, 5)] == ["a", "b", "c"]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")
def test_closing_the_iterator_ends_the_workers(tmp_path):
    path = tmp_path / "pid"
    results = map_items(quick_or_sleep, ["quick", path, "quick"], 2)
    assert next(results) == (0, "quick")
    pid = wait_for(path)
    assert is_running(pid)
    results.close()
    assert not is_running(pid)


def quick_or_sleep(item, send):
    return item if item == "quick" else sleep(item, send)


PARENT = """
import sys
sys.path[:0] = {paths!r}
from test_workers import sleep
from pipeline.core.workers import map_items
if __name__ == "__main__":
    list(map_items(sleep, sys.argv[1:], 2))
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")
def test_workers_end_with_their_parent_in_the_middle_of_an_item(tmp_path):
    script = tmp_path / "parent.py"
    paths = [str(path) for path in (Path(__file__).parent, ROOT, ROOT / "tests")]
    script.write_text(PARENT.format(paths=paths))
    marks = [tmp_path / "one", tmp_path / "two"]
    process = subprocess.Popen([sys.executable, str(script), *map(str, marks)])
    try:
        pids = [wait_for(mark) for mark in marks]
    finally:
        process.kill()  # no handler runs
        process.wait()
    deadline = time.monotonic() + 20  # the items last 60 s
    while any(map(is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_running, pids))


def die_once(item, send):
    """Die on the first try of a path; say how many others run on the second."""
    if isinstance(item, str):
        return item
    if item.exists():
        return "second try"
    item.touch()
    os.kill(os.getpid(), signal.SIGKILL)


def die_with_a_bar(item, send):
    from tqdm import tqdm

    tqdm(disable=True)
    os.kill(os.getpid(), signal.SIGKILL)


def hang(item, send):
    send.allow(60.0)
    if item == "hang":
        send.allow(0.3)
        hold_the_interpreter(60)
    return item


def hold_the_interpreter(seconds):
    """Sleep in native code that lets no Python code run meanwhile."""
    ctypes.PyDLL(None).sleep(seconds)


def hold(item, send):
    Path(item).write_text(str(os.getpid()))
    hold_the_interpreter(60)


def test_an_item_whose_worker_dies_is_tried_again_after_the_others(tmp_path):
    items = [tmp_path / "a", "b", "c", tmp_path / "d", "e"]
    results = list(map_items(die_once, items, 2, tries=2))
    assert dict(results) == {0: "second try", 1: "b", 2: "c", 3: "second try", 4: "e"}
    assert {index for index, _ in results[-2:]} == {0, 3}
    always = dict(map_items(work, ["kill", "a", "b"], 2, tries=2))
    assert always[0] == WorkerDied(-signal.SIGKILL) and always[1][0] == "a"


def test_python_does_not_warn_of_what_a_killed_worker_leaves_behind(tmp_path):
    """The warning comes when the parent ends."""
    script = tmp_path / "parent.py"
    paths = [str(path) for path in (Path(__file__).parent, ROOT, ROOT / "tests")]
    script.write_text(
        f"import sys; sys.path[:0] = {paths!r}\n"
        "from test_workers import die_with_a_bar\n"
        "from pipeline.core.workers import map_items\n"
        "if __name__ == '__main__':\n"
        "    print(dict(map_items(die_with_a_bar, ['a', 'b'], 2))[0])\n"
    )
    ended = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert "-9" in ended.stdout and ended.stderr == ""


def test_a_worker_that_hangs_is_stopped():
    begun = time.monotonic()
    results = dict(map_items(hang, ["hang", "a", "b", "c"], 2, tries=2))
    assert results == {0: WorkerDied(-signal.SIGKILL, 0.3), 1: "a", 2: "b", 3: "c"}
    assert time.monotonic() - begun < 50


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere native code delays the end")
def test_workers_in_native_code_end_with_their_parent(tmp_path):
    script = tmp_path / "parent.py"
    paths = [str(path) for path in (Path(__file__).parent, ROOT, ROOT / "tests")]
    script.write_text(PARENT.format(paths=paths).replace("sleep", "hold"))
    marks = [tmp_path / "one", tmp_path / "two"]
    process = subprocess.Popen([sys.executable, str(script), *map(str, marks)])
    try:
        pids = [wait_for(mark) for mark in marks]
    finally:
        process.kill()
        process.wait()
    deadline = time.monotonic() + 5
    while any(map(is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(is_running, pids))


def take_memory(item, send):
    """Fill as many MiB as the item says, wait to be stopped, and say what a thread count is."""
    if not item:
        return os.environ["OMP_NUM_THREADS"]
    data = np.ones(item << 17)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and data[0]:
        time.sleep(0.05)


def test_a_worker_that_takes_more_than_its_share_of_memory_is_stopped():
    limit = 600 << 20  # of two workers: 300 MiB each
    results = dict(map_items(take_memory, [400, 0, 700, 0], 2, memory=limit))
    threads = str(max(1, usable_cores() // 2))
    assert results[1] == results[3] == os.environ.get("OMP_NUM_THREADS", threads)
    for index in (0, 2):
        died = results[index]
        assert died.exitcode == -signal.SIGKILL and died.memory > limit / 2


def grow(item, send):
    """Take 400 MiB, for long enough to be seen."""
    data = np.ones(item << 17)
    time.sleep(2.0)
    return int(data.sum()) >> 17


def test_alone_it_may_take_the_memory_of_all():
    assert dict(map_items(grow, [400, 1], 2, tries=2, memory=600 << 20)) == {0: 400, 1: 1}


def test_one_worker_apart_from_this_process():
    (_, (item, pid)), *others = map_items(work, ["a", "exit"], 1, isolate=True)
    assert item == "a" and pid != os.getpid() and others == [(1, WorkerDied(7))]
