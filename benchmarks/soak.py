"""Disturb `merc extract --jobs 2` many times; the store must end as that of an undisturbed run.

    python benchmarks/soak.py SHARED WORK [--recordings 300] [--kills 100] [--seed 0] [--kinds …]

Makes the recordings in WORK (`soak_recordings`) and extracts them once undisturbed, with --jobs 1.
Then it disturbs runs into a second store, each kind in turn:

    kill        SIGKILL of the main process; every disturbance but "full disk" ends so
    worker      SIGKILL of a worker before
    byte, cut   one bit of a file of the store is changed, or the file is cut short
    second run  another process works on the same recordings and store
    full disk   the store is on a disk (tmpfs) that becomes full; the run must end and say so. Left
                out where no disk can be mounted: it takes root, or user namespaces
    clock       the times of files jump by days or years, and the clock of the processes jumps
    node        the run is on a Ray cluster of two nodes, of which one is killed

Kills come at random instants, spread over the whole work: during start-up too. After each one no
file may be damaged that was whole before, and no worker may run. At the end an undisturbed run must
leave the same bytes as the first: no temporary files, and the same failures.csv.

A soak that was stopped continues with the same command. Exits with 1 if something was not right.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from disturbances import (
    contents,
    count,
    damage,
    extract,
    fill,
    jumping_clock,
    kill,
    kill_worker,
    own_mounts,
    remove_half,
    shift_times,
    small_disk,
    wait_for_files,
)
from soak_recordings import make_recordings

from pipeline.core.files import write_text
from pipeline.features.store import Store

PATIENCE = 900.0  # s, for a run on a full disk to end


@dataclass
class Step:
    """One disturbance of a run. whole: files of a finished store. files: before the kill."""

    recordings: Path
    store: Path
    whole: int
    files: int
    chance: random.Random

    def __post_init__(self) -> None:
        self.work = self.store.parent
        self.log = self.work / "run.log"
        self.damaged = self.find_damaged()

    def start(self, **options: Any) -> subprocess.Popen[bytes]:
        return extract(self.recordings, self.store, 2, log=self.log, **options)

    def find_damaged(self) -> set[Path]:
        return {path for path, _ in Store(self.store).verify()[1]}

    def kill_run(
        self, process: subprocess.Popen[bytes] | None = None, **options: Any
    ) -> int | None:
        """Kill a run, by default a new one, at a random instant.

        Returns:
            The exit code if the run had ended before.
        """
        process = process or self.start(**options)
        starts = self.files <= count(self.store)
        try:
            wait_for_files(process, self.store, self.files)
            time.sleep(self.chance.uniform(0, 8 if starts else 0.5))
        finally:
            code = kill(process)
        return code

    def kill_worker_before(self) -> int | None:
        process = self.start()
        time.sleep(self.chance.uniform(0, 10))
        kill_worker(process.pid, self.chance)
        return self.kill_run(process)

    def change_bytes(self, cut: bool) -> int | None:
        for _ in range(self.chance.randint(1, 3)):
            damage(self.store, self.chance, cut)
        self.damaged = self.find_damaged()
        return self.kill_run()

    def run_beside(self) -> int | None:
        beside = extract(self.recordings, self.store, 1)
        try:
            code = self.kill_run()
            time.sleep(self.chance.uniform(0, 5))
        finally:
            kill(beside)
        return code

    def jump(self) -> int | None:
        shift_times(self.store, self.chance)
        return self.kill_run(env=jumping_clock(self.work / "clock", self.chance))

    def fill_disk(self) -> int | None:
        """Fill the disk of the store during a run, which must end, and say what it could not do."""
        with small_disk(self.work / "disk", 64 << 20) as disk:
            store = Path(shutil.copytree(self.store, disk / "store"))
            process = extract(self.recordings, store, 2, log=self.log)
            try:
                # while there is work left for both workers
                wait_for_files(process, store, min(self.files, self.whole - 10))
                ended = process.poll()
                ballast = fill(disk, free=self.chance.randrange(20_000))
                code = process.wait(PATIENCE)
            finally:
                kill(process)
            ballast.unlink()
            reported = code == 1 and b"disk is full" in self.log.read_bytes()
            if count(store) < self.whole and not reported:
                raise SystemExit(f"a full disk was not reported; exit code {code}, see {self.log}")
            if left := [name for name in contents(store) if name.startswith(".") or "/." in name]:
                raise SystemExit(f"a full disk left {left}")
            shutil.rmtree(self.store)
            shutil.copytree(store, self.store)
        return ended

    def lose_node(self) -> int | None:
        from ray_nodes import add_node, lose, start_cluster

        before = count(self.store)
        with start_cluster() as cluster:
            node = add_node(cluster)
            env = {"RAY_ADDRESS": cluster.address}
            process = self.start(options=["--engine=ray"], env=env)
            wait_for_files(process, self.store, (before + self.files) // 2)
            lose(cluster, node)
            return self.kill_run(process)


KINDS: dict[str, Callable[[Step], int | None]] = {
    "kill": Step.kill_run,
    "worker": Step.kill_worker_before,
    "byte": lambda step: step.change_bytes(cut=False),
    "second run": Step.run_beside,
    "full disk": Step.fill_disk,
    "cut": lambda step: step.change_bytes(cut=True),
    "clock": Step.jump,
    "node": Step.lose_node,
}


def main(arguments: list[str] | None = None) -> None:
    """Run the soak."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--recordings", type=int, default=300)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    options = parser.parse_args(arguments)
    if "full disk" in options.kinds and not own_mounts():
        print("no disk can be mounted here: without 'full disk'", flush=True)
        options.kinds.remove("full disk")
    recordings, whole, store = (options.work / name for name in ("recordings", "whole", "store"))
    make_recordings(options.shared, recordings, options.recordings, options.seed)
    soak = {"recordings": options.recordings, "seed": options.seed, "kinds": options.kinds}
    done = begin_or_continue(options.work / "state.json", soak, recordings, whole)
    reference = contents(whole)
    for number in range(done, options.kills):
        kind = options.kinds[number % len(options.kinds)]
        chance = random.Random(f"{options.seed}-{number}")
        began = time.monotonic()
        what = disturb(kind, recordings, store, count(whole), options.kills - number, chance)
        seconds = time.monotonic() - began
        print(f"kill {number + 1} ({kind}): {what}, {seconds:.0f} s", flush=True)
        write_text(options.work / "state.json", json.dumps(soak | {"done": number + 1}))
    extract_undisturbed(recordings, store, 2)
    compare(reference, contents(store))
    failures = len(reference.get("failures.csv", b"\n").splitlines()) - 1
    print(
        f"{options.kills} kills, {options.recordings} recordings, {failures} failures: "
        f"{len(reference)} files, all bytes equal"
    )


def begin_or_continue(path: Path, soak: dict[str, Any], recordings: Path, whole: Path) -> int:
    """Extract all recordings undisturbed, unless that was done; return the disturbances so far."""
    if path.exists():
        state = json.loads(path.read_text())
        done = state.pop("done")
        if state != soak:
            raise SystemExit(f"{path.parent} is of a soak with {state}")
        return done
    for store in (whole, whole.with_name("store")):
        shutil.rmtree(store, ignore_errors=True)
    extract_undisturbed(recordings, whole, 1)
    print(f"undisturbed: {count(whole)} files", flush=True)
    write_text(path, json.dumps(soak | {"done": 0}))
    return 0


def disturb(
    kind: str, recordings: Path, store: Path, whole: int, kills: int, chance: random.Random
) -> str:
    """Disturb a run; return what happened. kills: how many are left, this one included."""
    if count(store) == whole:
        remove_half(store, chance)
    left = whole - count(store)
    files = count(store) + chance.randint(0, 2 * left // kills)
    step = Step(recordings, store, whole, files, chance)
    code = KINDS[kind](step)
    if code not in (None, 0, 1) or (code is not None and count(store) < whole):
        raise SystemExit(f"a run ended early with exit code {code}, see {step.log}")
    if new := step.find_damaged() - step.damaged:
        raise SystemExit(f"damaged by a kill: {sorted(new)}")
    return f"{count(store)} of {whole} files, {'disturbed' if code is None else 'had ended'}"


def extract_undisturbed(recordings: Path, store: Path, jobs: int) -> None:
    """Extract; raise SystemExit for another exit code than 0, or 1 for faulty recordings."""
    log = store.with_name("run.log")
    code = extract(recordings, store, jobs, log=log).wait()
    if code not in (0, 1):
        raise SystemExit(f"a run ended with exit code {code}, see {log}")


def compare(one: dict[str, bytes], two: dict[str, bytes]) -> None:
    """Raise SystemExit if two stores differ."""
    names = sorted(name for name in one.keys() | two.keys() if one.get(name) != two.get(name))
    if names:
        raise SystemExit(f"the stores differ in {len(names)} files: {names[:20]}")


if __name__ == "__main__":
    main()
