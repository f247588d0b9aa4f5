"""Measure a function in its own process: CPU seconds of all threads, wall seconds, peak memory."""

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
    """Measure `work` in this process; do imports and earlier steps before the call."""
    import resource

    cpu, wall = time.process_time(), time.perf_counter()
    work()
    unit = 2**20 if sys.platform == "darwin" else 2**10  # ru_maxrss is in bytes there, else in KiB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return {
        "cpu_s": round(time.process_time() - cpu, 2),
        "wall_s": round(time.perf_counter() - wall, 2),
        "peak_mb": round(peak),
    }


def in_child(script: str, *arguments: str | Path) -> dict[str, float]:
    """Run `python script arguments` with one thread per library.

    Returns what `measured` returned there: the last line of the script's output.
    """
    child = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / script), *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **THREADS, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    if child.returncode:
        raise SystemExit(f"{script} {arguments[0]} failed")
    return json.loads(child.stdout.splitlines()[-1])
