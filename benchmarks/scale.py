"""Simulate `merc extract` on a cluster: hours, bill and what limits it.

    pip install simpy
    python benchmarks/scale.py                       # the table of docs/scale.md, a few seconds
    python benchmarks/scale.py --check RECORDINGS    # against real runs (scale_check.py)

A discrete-event simulation (simpy). A recording is read from the storage and then goes through the
stages of merc in one worker, which holds one core; a GPU, if there is one, takes the visual stage
and the text, one recording at a time. Workers take the longest recordings first. Stage times are
those of `merc extract --log json`; what a GPU gains, the price of a core and the rates of the
storage are assumptions, and arguments.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

# CPU seconds for a second of recording (docs/scale.md)
STAGES = {"open": 0.0068, "utterances": 0.1437, "text": 0.0026, "audio": 0.0054, "visual": 0.1082}
ON_GPU = ("text", "visual")
START = 2.5  # s to start a worker and load its models


@dataclass(frozen=True)
class Cluster:
    """nodes of `cores` workers and `gpus`, which share one storage.

    gain: how many times a GPU is as fast as a core. decode: share of the visual stage that stays on
    the core (decoding, detection). rate: MB/s of the storage for all nodes together. price: of a
    core and of a GPU for an hour, in US dollars. fail: failures of a worker per day. overhead:
    seconds for each recording: open, checksum, files of the store.
    """

    nodes: int = 1
    cores: int = 16
    gpus: int = 0
    gain: float = 20.0
    decode: float = 0.7
    rate: float = 1000.0
    price: tuple[float, float] = (0.04, 2.5)
    fail: float = 0.0
    overhead: float = 0.4


@dataclass
class Totals:
    """What a simulation counts."""

    end: float = 0.0  # s
    core: float = 0.0  # busy seconds of all cores
    gpu: float = 0.0
    reading: float = 0.0
    lost: int = 0  # recordings begun again because their worker failed


def simulate(
    cluster: Cluster,
    lengths: list[float],
    megabytes: float,
    seed: int = 0,
    costs: dict[str, float] = STAGES,
) -> Totals:
    """Extract recordings of these lengths (s).

    megabytes: of a second of recording. costs: CPU seconds of each stage for a second of recording.
    """
    import simpy

    env, totals, chance = simpy.Environment(), Totals(), random.Random(seed)
    storage = simpy.Resource(env, 8)  # streams, each with an eighth of the rate
    queue = sorted(lengths)  # the last one is the longest

    def read(length: float) -> Iterator[Any]:
        with storage.request() as turn:
            yield turn
            seconds = length * megabytes / (cluster.rate / 8)
            totals.reading += seconds
            yield env.timeout(seconds)

    def stages(length: float, gpu: Any) -> Iterator[Any]:
        yield from read(length)
        for stage, cost in costs.items():
            seconds = cost * length
            if gpu is not None and stage in ON_GPU:
                core = seconds * (cluster.decode if stage == "visual" else 0.0)
                totals.core += core
                yield env.timeout(core)
                with gpu.request() as turn:
                    yield turn
                    on_gpu = (seconds - core) / cluster.gain
                    totals.gpu += on_gpu
                    yield env.timeout(on_gpu)
            else:
                totals.core += seconds
                yield env.timeout(seconds)
        yield env.timeout(cluster.overhead)

    def worker(gpu: Any) -> Iterator[Any]:
        yield env.timeout(START)
        while queue:
            length = queue.pop()
            fails = cluster.fail * length * sum(costs.values()) / 86_400
            if chance.random() < fails:  # the worker dies half-way, a new one comes
                totals.lost += 1
                yield env.timeout(length * sum(costs.values()) / 2 + START)
                queue.append(length)
                continue
            yield from stages(length, gpu)
            totals.end = env.now

    for _ in range(cluster.nodes):
        gpu = simpy.Resource(env, cluster.gpus) if cluster.gpus else None
        for _ in range(cluster.cores):
            env.process(worker(gpu))
    env.run()
    return totals


def lengths_of(hours: float, seed: int = 0) -> list[float]:
    """Draw recordings of 1 to 120 minutes, log-normal around 20, that last `hours` together."""
    chance, lengths, total = random.Random(seed), [], 0.0
    while total < hours * 3600:
        length = min(max(chance.lognormvariate(7.1, 0.8), 60.0), 7200.0, hours * 3600)
        lengths.append(length)
        total += length
    return [length * hours * 3600 / total for length in lengths]


def describe(cluster: Cluster, hours: float, part: int = 1) -> str:
    """Return a row of the table. part: simulate 1 of so many parts of the cluster and the work."""
    one = replace(cluster, nodes=cluster.nodes // part, rate=cluster.rate / part)
    totals = simulate(one, lengths_of(hours / part), megabytes=0.15)
    for name in ("core", "gpu", "lost"):
        setattr(totals, name, getattr(totals, name) * part)
    cores, gpus = cluster.nodes * cluster.cores, cluster.nodes * cluster.gpus
    time = totals.end / 3600
    bill = time * (cores * cluster.price[0] + gpus * cluster.price[1])
    shares = {
        "cores": totals.core / (totals.end * cores),
        "GPUs": totals.gpu / (totals.end * gpus) if gpus else 0.0,
        "storage": totals.reading / (totals.end * 8),
    }
    limit = max(shares, key=shares.__getitem__)
    if shares[limit] < 0.6:  # nothing is busy: a few long recordings are left
        limit = "longest recording"
    used = ", ".join(f"{name} {share:.0%}" for name, share in shares.items() if share >= 0.005)
    what = f"{cluster.nodes} × {cluster.cores} cores" + (f" + {cluster.gpus} GPU" * bool(gpus))
    return f"| {hours:,g} | {what} | {time:,.1f} | {bill:,.0f} | {used} | {limit} | {totals.lost} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gain", type=float, default=Cluster.gain)
    parser.add_argument("--rate", type=float, default=Cluster.rate)
    parser.add_argument("--check", type=Path, metavar="RECORDINGS")
    options = parser.parse_args()
    base = Cluster(gain=options.gain, rate=options.rate)
    if options.check:
        from scale_check import check

        check(options.check)
        return
    print("| hours | cluster | time (h) | bill ($) | busy | limit | begun again |")
    print("|---|---|---|---|---|---|---|")
    for hours, nodes, part in ((1, (1,), 1), (100, (1, 4), 1), (100_000, (8, 64, 256), 8)):
        for count in nodes:
            fail = 0.05 if hours > 1000 else 0.0
            for gpus in (0, 1):
                print(describe(replace(base, nodes=count, gpus=gpus, fail=fail), hours, part))


if __name__ == "__main__":
    main()
