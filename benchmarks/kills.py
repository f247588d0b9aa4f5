"""Disturb `merc extract --jobs 2` many times; the store must end as that of an undisturbed run.

Reads /proc, so it runs on Linux only.

    python benchmarks/kills.py RECORDINGS WORK [--kills 30] [--seed 0] [--only parent]

Every run is killed (SIGKILL, the parent only) as soon as the store holds one more file than when it
began, or after another delay, so kills fall into all stages. Before that, by chance, a worker is
killed, or one byte of the store has been changed, or a file of it cut short. Some runs have a
second one beside them that shares the store. Prints one line per kill. Exits with 1 if a worker
outlives its parent for 2 s, or if the store differs in one byte from the store of `--jobs 1`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

DISTURBANCES = ("parent", "worker", "byte", "cut", "second run")
COMMAND = [sys.executable, "-c", "from pipeline.cli.app import main; main()", "extract"]


def extract(recordings: Path, store: Path, jobs: int) -> subprocess.Popen[bytes]:
    """Start an extraction in a session of its own."""
    return subprocess.Popen(
        [*COMMAND, str(recordings), "--profile=offline", f"--out={store}", f"--jobs={jobs}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def contents(store: Path) -> dict[str, bytes]:
    """Return all files of a store, temporary ones too, by their paths."""
    files = sorted(path for path in store.rglob("*") if path.is_file())
    return {str(path.relative_to(store)): path.read_bytes() for path in files}


def count(store: Path) -> int:
    return sum(not path.name.startswith(".merc") for path in store.rglob("*.*"))


def damage(store: Path, chance: random.Random, cut: bool) -> None:
    """Change one byte of a recording's file in the store, or cut it short.

    A damaged merc-store.json is an error with a remedy: merc does not guess a store's format.
    """
    files = [path for path in sorted(store.rglob("*.*")) if path.is_file() and path.parent != store]
    paths = [path for path in files if path.stat().st_size]
    if not paths:
        return
    path = chance.choice(paths)
    data = bytearray(path.read_bytes())
    place = chance.randrange(len(data))
    data[place] ^= 1 << chance.randrange(8)
    path.write_bytes(data[:place] if cut else data)


def kill_worker(parent: int, chance: random.Random) -> None:
    """Kill one of the workers, if there is one yet."""
    with contextlib.suppress(ProcessLookupError, IndexError):
        os.kill(chance.choice([pid for pid in running(parent) if pid != parent]), signal.SIGKILL)


def kill_one(
    recordings: Path, store: Path, delay: float, disturbance: str, chance: random.Random
) -> tuple[int, bool]:
    """Start, disturb, wait for one more file and `delay` seconds, kill the parent.

    Returns:
        The number of files in the store, and whether the run ended before it was killed.
    """
    if disturbance in ("byte", "cut"):
        damage(store, chance, disturbance == "cut")
    before = count(store)
    beside = extract(recordings, store, 1) if disturbance == "second run" else None
    process = extract(recordings, store, 2)
    if disturbance == "worker":
        time.sleep(chance.uniform(0, 8))
        kill_worker(process.pid, chance)
    while process.poll() is None and count(store) <= before:
        time.sleep(0.005)
    time.sleep(delay)
    ended = process.poll() is not None
    process.kill()
    if process.wait() > 0:
        raise SystemExit("a run failed before it was killed")
    if beside:
        time.sleep(delay)
        beside.kill()
        beside.wait()
    if not all_end(process.pid, 2.0):
        raise SystemExit("a worker outlived its parent")
    return count(store), ended


def all_end(session: int, seconds: float) -> bool:
    """Wait until no process of a session runs."""
    deadline = time.monotonic() + seconds
    while running(session):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def running(session: int) -> list[int]:
    """List the processes of a session; a zombie, which waits for its parent to ask, is none."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, number = path.read_text().rpartition(")")[2].split()[:4]
            if int(number) == session and state != "Z":
                found.append(int(path.parent.name))
    return found


def main(arguments: list[str] | None = None) -> None:
    """Run the check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recordings", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=DISTURBANCES)
    options = parser.parse_args(arguments)
    whole, killed = options.work / "whole", options.work / "killed"
    if extract(options.recordings, whole, 1).wait():
        raise SystemExit("the undisturbed run failed")
    chance = random.Random(options.seed)
    for number in range(options.kills):
        delay = chance.choice([0.0, 0.01, 0.05, 0.2, 0.5])
        disturbance = options.only or chance.choice(DISTURBANCES)
        files, ended = kill_one(options.recordings, killed, delay, disturbance, chance)
        state = "had ended" if ended else "killed"
        print(f"kill {number + 1} ({disturbance}): {files} files, {state}", flush=True)
        if ended:  # begin again
            remove_half(killed, chance)
    if extract(options.recordings, killed, 2).wait():
        raise SystemExit("the last run failed")
    if contents(whole) != contents(killed):
        raise SystemExit("the stores differ")
    print(f"{options.kills} kills: {len(contents(whole))} files, all bytes equal")


def remove_half(store: Path, choice: random.Random) -> None:
    """Remove every second file of a store, so that there is work again."""
    for path in sorted(store.rglob("*.*")):
        if path.is_file() and choice.random() < 0.5:
            path.unlink()


if __name__ == "__main__":
    main()
