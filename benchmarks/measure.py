"""Measure one function in a process of its own: CPU seconds of all its threads, wall seconds, peak memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def measured(work: Callable[[], object]) -> dict[str, float]:
    """Run in this process; imports and earlier steps belong before the call."""
    import resource

    cpu, wall = time.process_time(), time.perf_counter()
    work()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        2**20 if sys.platform == "darwin" else 2**10
    )
    return {
        "cpu_s": round(time.process_time() - cpu, 2),
        "wall_s": round(time.perf_counter() - wall, 2),
        "peak_mb": round(peak),
    }


def in_child(script: str, *arguments: str | Path) -> dict[str, float]:
    """Run `python script arguments`, whose last line of output is what `measured` gave; one thread a library."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / script), *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **THREADS, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{script} {arguments[0]} failed")
    return json.loads(done.stdout.splitlines()[-1])
