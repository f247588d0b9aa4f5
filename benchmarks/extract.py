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
import shutil
import tempfile
from pathlib import Path
from typing import Any

from material import join
from measure import THREADS, measured_merc
from stages import find_clips

NAMES = (*THREADS, "OPENCV_FOR_THREADS_NUM", "RAYON_NUM_THREADS")


def make(clips: list[Path], folder: Path, number: int, seconds: float) -> Path:
    """Write `number` recordings of `seconds`, all different."""
    folder.mkdir()
    for k in range(number):
        join(clips[k:] + clips[:k], folder / f"{k}.mp4", seconds)
    return folder


def run(recordings: Path, store: Path, jobs: int, threads: int | None) -> dict[str, float]:
    """Extract a folder; return wall and CPU seconds, and the load of the machine before."""
    load = round(os.getloadavg()[0], 1)
    options = ["--profile", "offline", "--out", store, "--jobs", str(jobs)]
    environment = dict.fromkeys(NAMES, str(threads) if threads else None)
    return {**measured_merc("extract", recordings, *options, **environment), "load": load}


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
