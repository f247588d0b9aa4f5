"""Seconds of `merc label` for one recording, start included, by turns with another version of merc.

    python benchmarks/label.py RECORDING [--before CHECKOUT] [--runs 3]

Each run is a new process that uses all cores. One run of each version comes first and is not
counted: it fills the caches of files and bytecode. CHECKOUT: a clone of merc at another commit.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import COMPILED, ROOT

COMMAND = [sys.executable, "-c", "from pipeline.cli.app import main; main()", "label"]


def run(root: Path, recording: Path) -> dict[str, Any]:
    """Label a recording with the merc in a folder; return wall and CPU seconds."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as out:
        subprocess.run(
            [*COMMAND, str(recording), "--out", out],
            cwd=root,  # comes before all else on the path of `python -c`
            env=os.environ | COMPILED | {"HF_HUB_OFFLINE": "1"},
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = sum(getattr(after, name) - getattr(before, name) for name in ("ru_utime", "ru_stime"))
    return {"wall_s": round(wall, 1), "cpu_s": round(cpu, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recording", type=Path)
    parser.add_argument("--before", type=Path, help="a clone of merc at another commit")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    versions = {"before": options.before} if options.before else {}
    versions["now"] = ROOT
    recording = options.recording.absolute()
    walls: dict[str, list[float]] = {name: [] for name in versions}
    for number in range(-1, options.runs):
        for name, root in versions.items():
            row = run(root, recording)
            if number >= 0:
                walls[name].append(row["wall_s"])
                load = round(os.getloadavg()[0], 1)
                print(json.dumps({"version": name, **row, "load": load}), flush=True)
    if options.before:
        print(f"now / before: {min(walls['now']) / min(walls['before']):.2f} of the wall time")


if __name__ == "__main__":
    main()
