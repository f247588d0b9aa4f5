"""Train several seeds, as many at a time as there are cores, here or on a cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.core.errors import MercError, UsageError
from pipeline.core.ray_engine import Cluster, check_engine, connect
from pipeline.core.run_folder import SETTINGS
from pipeline.core.workers import Send, WorkerDied, map_items
from pipeline.training.config import Configuration
from pipeline.training.distributed import ranks
from pipeline.training.fit import Report, fit, no_report
from pipeline.training.protocols import Parts
from pipeline.training.start import Start

__all__ = [
    "available_cores",
    "check_training_engine",
    "fit_seeds",
    "limited_threads",
    "training_cluster",
]


def fit_seeds(
    parts: Parts,
    config: Configuration,
    seeds: list[int],
    work: Path,
    report: Report = no_report,
    start: Start | None = None,
    engine: str = "local",
) -> list[Path]:
    """Fit every seed into `work/seed-N`; return these folders in the order of `seeds`.

    With the same number of threads, a seed gives the same files whether it is trained alone or
    beside others, here or on a cluster. A different number changes the order of sums.

    Raises MercError or what `fit` raises; the other seeds are then stopped.
    """
    folders = [work / f"seed-{seed}" for seed in seeds]
    cluster = training_cluster(config, work / SETTINGS) if engine == "ray" else None
    jobs, threads = (None, cluster.cpus) if cluster else _share_cores(config, len(seeds))
    if ranks()[0]:
        report = no_report
    fit_seed = _FitSeed(parts, config, threads, start)
    items = list(zip(seeds, folders, strict=True))
    outcomes = map_items(fit_seed, items, jobs, lambda index, row: report(row), cluster=cluster)
    try:
        for index, outcome in outcomes:
            if isinstance(outcome, WorkerDied):
                raise MercError(
                    f"seed {seeds[index]}: {outcome}",
                    "free some memory or lower train.batch, then repeat the command to resume",
                )
            if outcome is not None:
                raise outcome
    finally:
        outcomes.close()  # type: ignore[attr-defined]
    return folders


def check_training_engine(engine: str) -> None:
    """Raise UsageError for an engine that seeds cannot be trained with."""
    check_engine(engine)
    if engine == "ray" and ranks()[1] > 1:
        raise UsageError("--engine ray under torchrun", "use one of them")


def training_cluster(config: Configuration, shared: Path) -> Cluster:
    """Return what a seed takes of a node. shared: a file of the run, which all nodes must see."""
    device = config.train.device
    if device == "auto" and "GPU" in connect().cluster_resources():
        device = "cuda"
    return Cluster(
        cpus=config.train.threads or 1,
        gpus=1.0 if device == "cuda" else 0.0,
        same=(shared,),
    )


@dataclass(frozen=True)
class _FitSeed:
    """The work of one process: fit a seed and return None, or the exception that it raised."""

    parts: Parts
    config: Configuration
    threads: int
    start: Start | None = None

    def __call__(self, item: tuple[int, Path], send: Send) -> Exception | None:
        seed, folder = item
        with limited_threads(self.threads):
            try:
                fit(self.parts, self.config, seed, folder, send, self.start)
            except Exception as error:
                return error
        return None


@contextmanager
def limited_threads(count: int) -> Iterator[None]:
    """Let torch use `count` threads."""
    before: int = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _share_cores(config: Configuration, seeds: int) -> tuple[int, int]:
    """Return (seeds at a time, threads of each)."""
    cores = available_cores()
    on_gpu = config.train.device != "cpu" and torch.cuda.is_available()
    jobs = 1 if on_gpu or ranks()[1] > 1 else min(seeds, cores)
    if config.train.threads:
        return jobs, config.train.threads
    local_ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # of torchrun on this machine
    # no more than torch chose at start: $OMP_NUM_THREADS, else the physical cores
    return jobs, max(1, min(torch.get_num_threads(), cores // max(jobs, local_ranks)))


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
