"""`merc extract` on a folder, by number of workers and of threads per worker.

    python benchmarks/extract.py --clips FOLDER_OF_CLIPS [--number 6] [--seconds 12]

The recordings join the clips, each from another one on. Every run is a new process with a store of
its own, so the seconds contain the start and the loading of models; `work` is without them, by a
run on a folder of very short recordings. Wall seconds need a quiet machine: the load before
each run is printed. All stores must hold the same bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from material import join
from measure import COMPILED, ROOT, THREADS
from stages import find_clips

COMMAND = [sys.executable, "-c", "from pipeline.cli.app import main; main()", "extract"]
NAMES = (*THREADS, "OPENCV_FOR_THREADS_NUM", "RAYON_NUM_THREADS")


def make(clips: list[Path], folder: Path, number: int, seconds: float) -> Path:
    """Write `number` recordings of `seconds`, all different."""
    folder.mkdir()
    for k in range(number):
        join(clips[k:] + clips[:k], folder / f"{k}.mp4", seconds)
    return folder


def run(recordings: Path, store: Path, jobs: int, threads: int | None) -> dict[str, float]:
    """Extract a folder; return wall and CPU seconds, and the load of the machine before."""
    environment = os.environ | COMPILED | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    for name in NAMES:
        environment.pop(name, None)
        if threads:
            environment[name] = str(threads)
    load = os.getloadavg()[0]
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    options = ["--profile", "offline", "--out", str(store), "--jobs", str(jobs)]
    subprocess.run(
        [*COMMAND, str(recordings), *options],
        check=True,
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = sum(getattr(after, name) - getattr(before, name) for name in ("ru_utime", "ru_stime"))
    return {
        "wall_s": round(time.perf_counter() - start, 1),
        "cpu_s": round(cpu, 1),
        "load": round(load, 1),
    }


def contents(store: Path) -> dict[str, bytes]:
    paths = sorted(path for path in store.rglob("*") if path.is_file())
    return {str(path.relative_to(store)): path.read_bytes() for path in paths}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--number", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=12)
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = find_clips(options.clips)
        recordings = make(clips, folder / "long", options.number, options.seconds)
        short = make(clips, folder / "short", 2, 0.2)
        expected = None
        for jobs in sorted({1, cores}):
            for threads in (1, cores, None):  # None: as merc sets them
                store = folder / "store"
                figures = run(recordings, store, jobs, threads)
                found = contents(store)
                if found != (expected := expected or found):
                    raise SystemExit("the stores differ")
                shutil.rmtree(store)
                start = run(short, store, jobs, threads)["wall_s"]
                shutil.rmtree(store)
                row = {"workers": jobs, "threads": threads or "merc's", **figures}
                rows.append(row | {"work_s": round(figures["wall_s"] - start, 1)})
                print(json.dumps(rows[-1]), flush=True)
    work = {row["workers"]: row["work_s"] for row in rows if row["threads"] == 1}
    ratio = work[1] / work[cores]
    print(f"{cores} workers against one, one thread each: {ratio:.2f} times (at least 1.8 for two)")


if __name__ == "__main__":
    main()
