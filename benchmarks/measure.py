"""Measure a function in its own process: CPU seconds of all threads, wall seconds, peak memory."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
# where this is set, each start would compile all modules that the user has no bytecode of
COMPILED = {"PYTHONDONTWRITEBYTECODE": ""}


def peak_memory() -> float:
    """Return the peak memory of this process in MiB.

    Linux starts ru_maxrss of a child at that of its parent, so it is the second choice.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def measured(work: Callable[[], object]) -> dict[str, float]:
    """Measure `work` in this process; do imports and earlier steps before the call."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return {
        "cpu_s": round(time.process_time() - cpu, 2),
        "wall_s": round(time.perf_counter() - wall, 2),
        "peak_mb": round(peak_memory()),
    }


def measured_merc(
    *arguments: str | Path, root: Path = ROOT, **environment: str | None
) -> dict[str, float]:
    """Run the command of the merc in a folder; return wall and CPU seconds of all its processes.

    environment: variables to set, or to remove (None).
    """
    variables = {**os.environ, **COMPILED, "HF_HUB_OFFLINE": "1", **environment}
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-c", "from pipeline.cli.app import main; main()", *map(str, arguments)],
        cwd=root,  # comes before all else on the path of `python -c`
        env={name: value for name, value in variables.items() if value is not None},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = sum(getattr(after, name) - getattr(before, name) for name in ("ru_utime", "ru_stime"))
    return {"wall_s": round(time.perf_counter() - start, 1), "cpu_s": round(cpu, 1)}


def in_child(script: str, *arguments: str | Path) -> dict[str, float]:
    """Run `python script arguments` with one thread per library.

    Returns what `measured` returned there: the last line of the script's output.
    """
    child = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / script), *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **THREADS, **COMPILED, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    if child.returncode:
        raise SystemExit(f"{script} {arguments[0]} failed")
    return json.loads(child.stdout.splitlines()[-1])
