"""Lose nodes of a Ray cluster during `merc extract --engine ray`; the store must be as of one run.

Two nodes (raylets) of one core each run on this machine.

    python benchmarks/ray_nodes.py RECORDINGS WORK [--losses 3]

A node is killed when another part of the recordings is finished, with all that runs on it, and
replaced. Prints one line per loss. Exits with 1 if a recording failed, if more recordings were
begun again than were in work on the lost nodes, if the same command finds something to do
afterwards, or if the store differs in one byte from the store of `--jobs 1`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from disturbances import COMMAND, contents

PROFILE = ["--profile=offline"]
ON_CLUSTER = ["--engine=ray", "--jobs=2", "--log=json"]
MEMORY = 4 << 30  # bytes that a node says it has: enough for its worker


@contextlib.contextmanager
def start_cluster() -> Iterator[Any]:
    """Start a cluster of one node; `add_node` adds others."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray
    from ray.cluster_utils import Cluster

    cluster = patiently(lambda: Cluster(initialize_head=True, head_node_args=node_options()))
    try:
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def add_node(cluster: Any) -> Any:
    """Add a node."""
    return patiently(lambda: cluster.add_node(**node_options()))


def patiently(start: Callable[[], Any]) -> Any:
    """Start a node. Ray gives up one that has not started within 30 s, as on a busy machine."""
    for _ in range(9):
        with contextlib.suppress(Exception):  # of no particular type
            return start()
    return start()


def node_options() -> dict[str, Any]:
    """Return what a node has: one core."""
    return {
        "num_cpus": 1,
        "memory": MEMORY,
        "object_store_memory": 100 << 20,
        "include_dashboard": False,
    }


def lose(cluster: Any, node: Any) -> None:
    """Kill a node with everything that runs on it."""
    doomed = descendants(node.all_processes["raylet"][0].process.pid)
    cluster.remove_node(node, allow_graceful=False)
    for pid in doomed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """Return the processes that a process has started, and those that they have started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [one for child in map(int, children) for one in (child, *descendants(child))]


def extract_and_lose(
    cluster: Any, recordings: Path, store: Path, losses: int, options: Sequence[str]
) -> str:
    """Extract on a cluster of two nodes and kill the second one several times.

    Returns:
        A line that says what happened. Raises SystemExit if it should not have.
    """
    node = add_node(cluster)
    process = subprocess.Popen(
        [*COMMAND, str(recordings), f"--out={store}", *ON_CLUSTER, *options],
        env=os.environ | {"RAY_ADDRESS": cluster.address},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    total = begun = lost = finished = failed = 0
    assert process.stderr
    for line in process.stderr:
        event = json.loads(line)
        total = event.get("total", total)
        begun += event["event"] == "stage" and event["stage"] == "utterances"
        failed += event["event"] == "failed"
        finished += event["event"] == "finished"
        if lost < losses and finished > total * lost // losses:
            lost += 1
            lose(cluster, node)
            if lost < losses:
                node = add_node(cluster)
            print(f"loss {lost}: {finished} recordings finished", flush=True)
    if process.wait() or failed:
        raise SystemExit(f"exit code {process.returncode}, {failed} recordings failed")
    again = begun - finished
    if again > lost:
        raise SystemExit(f"{again} recordings were begun again, and {lost} nodes were lost")
    return f"{lost} nodes lost: {finished} recordings, {again} begun again"


def extract_here(recordings: Path, store: Path) -> Any:
    """Extract in one process; return its JSON output. Also removes what killed ones have left."""
    command = [*COMMAND, str(recordings), f"--out={store}", "--jobs=1", "--json", *PROFILE]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def main(arguments: list[str] | None = None) -> None:
    """Run the check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recordings", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--losses", type=int, default=3)
    options = parser.parse_args(arguments)
    local, ray = options.work / "local", options.work / "ray"
    extract_here(options.recordings, local)
    with start_cluster() as cluster:
        line = extract_and_lose(cluster, options.recordings, ray, options.losses, PROFILE)
    if not extract_here(options.recordings, ray)["nothing_done"]:
        raise SystemExit("something was left to do")
    if contents(local) != contents(ray):
        raise SystemExit("the stores differ")
    print(f"{line}; {len(contents(ray))} files, all bytes equal")


if __name__ == "__main__":
    main()
