"""Compare the simulation of scale.py with real runs of two workers and of two nodes.

    python benchmarks/scale.py --check RECORDINGS

One worker extracts the folder; its log gives the seconds of each stage. From these, the simulation
predicts the run of two workers, which tells by how much two cores slow each other down. With that,
it predicts the run on two nodes of a Ray cluster of one core each. Seconds are those from the first
stage of a recording to the end of the last one, without the start of workers. Needs two idle cores.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from disturbances import COMMAND
from measure import THREADS
from ray_nodes import add_node, start_cluster
from scale import START, Cluster, simulate

from pipeline.media.decode import open_media
from pipeline.media.inputs import find_media

__all__ = ["check"]

LOG = ("--profile=offline", "--log=json")


@dataclass(frozen=True)
class Run:
    """Seconds of a run, and of each stage in it, summed over the recordings."""

    seconds: float
    stages: dict[str, float]


def check(recordings: Path) -> None:
    """Print what the simulation says and what was measured."""
    lengths = lengths_of_folder(recordings)
    with tempfile.TemporaryDirectory() as folder:
        one = extract(recordings, Path(folder) / "one", "--jobs=1")
        two = extract(recordings, Path(folder) / "two", "--jobs=2")
        with start_cluster() as cluster:
            add_node(cluster)
            address = {"RAY_ADDRESS": cluster.address}
            options = ("--jobs=2", "--engine=ray")
            nodes = extract(recordings, Path(folder) / "nodes", *options, environment=address)
    costs = {stage: seconds / sum(lengths) for stage, seconds in one.stages.items()}
    print(f"{len(lengths)} recordings, {sum(lengths):.0f} s, load {os.getloadavg()[0]:.1f}")
    print("| run | simulated, s | measured, s | simulated / measured |")
    print("|---|---|---|---|")
    print(row("one worker", predict(lengths, costs, 1), one.seconds))
    apart = predict(lengths, costs, 2)
    print(row("two workers", apart, two.seconds))
    slower = two.seconds / apart
    shared = {stage: slower * cost for stage, cost in costs.items()}
    name = f"two nodes, cores slower by {slower:.2f}"
    print(row(name, predict(lengths, shared, 2), nodes.seconds))


def predict(lengths: list[float], costs: dict[str, float], workers: int) -> float:
    """Return the simulated seconds of work."""
    return (
        simulate(Cluster(cores=workers, rate=1e9, overhead=0.0), lengths, 0.05, costs=costs).end
        - START
    )


def row(name: str, simulated: float, measured: float) -> str:
    """Return a row of the table."""
    return f"| {name} | {simulated:.1f} | {measured:.1f} | {simulated / measured:.2f} |"


def lengths_of_folder(recordings: Path) -> list[float]:
    """Return the seconds of each recording of a folder."""
    lengths = []
    for item in find_media([recordings])[0]:
        with open_media(item.path) as media:
            lengths.append(media.duration)
    return lengths


def extract(
    recordings: Path, store: Path, *options: str, environment: dict[str, str] | None = None
) -> Run:
    """Extract a folder, one thread per worker, and read the log."""
    result = subprocess.run(
        [*COMMAND, str(recordings), f"--out={store}", *LOG, *options],
        env=os.environ | THREADS | (environment or {}),
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    times: list[float] = []
    stages: dict[str, float] = defaultdict(float)
    current: dict[str, tuple[str, float]] = {}  # stage of each recording, and when it began
    for line in result.stderr.splitlines():
        event = json.loads(line) if line.startswith("{") else {}
        if event.get("event") not in ("stage", "finished"):
            continue
        recording, now = event["input"], event["time"]
        times.append(now)
        if recording in current:
            stage, began = current.pop(recording)
            stages[stage] += now - began
        if event["event"] == "stage":
            current[recording] = event["stage"], now
    return Run(max(times) - min(times), dict(stages))
