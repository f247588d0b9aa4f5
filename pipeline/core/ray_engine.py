"""Workers on the nodes of a Ray cluster.

An actor on a node keeps one worker process, as `local_engine` does, so crashes, time and memory are
dealt with as in a local run. What the worker sends reaches this process as the stream of results
of an actor's call. Ray decides on which node an actor runs, by the cores, memory and GPUs that it
takes of it.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

from pipeline import __version__
from pipeline.core.engine import Event, Send, Work, WorkerDied
from pipeline.core.errors import MercError, UsageError
from pipeline.core.local_engine import LocalEngine
from pipeline.core.resources import memory_limit, usable_cores

__all__ = ["Cluster", "check_engine", "connect"]

ENGINES = ("local", "ray")
PATIENCE = 10.0  # s for a cluster to answer
LOOK = 5.0  # s between two looks at the size of the cluster


def check_engine(name: str) -> None:
    """Raise UsageError unless this is the name of an engine that is installed."""
    if name not in ENGINES:
        raise UsageError(f"--engine {name}: unknown", f"choose {' or '.join(ENGINES)}")
    if name == "ray":
        _ray()


@dataclass(frozen=True)
class Cluster:
    """What a worker takes of a node of the Ray cluster, and what each node must see.

    cpus: cores, and threads of each library. gpus: 0.25 lets four workers share a GPU. memory: GiB;
        0: no limit.
    same: files that each node must see as they are here, on a file system that all share.
    present: files that each node must have.

    The cluster is that of $RAY_ADDRESS; without it, Ray is started on this machine.
    """

    cpus: int = 1
    gpus: float = 0.0
    memory: float = 0.0
    same: tuple[Path, ...] = ()
    present: tuple[Path, ...] = ()

    def engine(self, work: Work, jobs: int | None) -> RayEngine:
        """Return an engine with at most `jobs` workers; None: as many as there is room for.

        `work` may have a method `check`, which each worker calls before its first item. What it
        raises ends the run.

        Raises UsageError or MercError if there is no such cluster.
        """
        return RayEngine(self, work, jobs)

    def room(self, resources: dict[str, float]) -> int:
        """Return how many workers a node with these resources carries."""
        needs = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory * 2**30}
        # a little more, because 1.0 // 0.2 is 4
        counts = [resources.get(name, 0.0) / need + 1e-6 for name, need in needs.items() if need]
        return int(min(counts))


def connect() -> Any:
    """Connect to the cluster, once per process; return the library.

    Raises UsageError if Ray is not installed or no cluster answers.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = _ray()
    if ray.is_initialized():
        return ray
    import logging

    logging.getLogger("ray").setLevel(logging.CRITICAL)  # what matters is raised
    address = os.environ.get("RAY_ADDRESS", "")
    options: dict[str, Any] = {"address": address}
    if address:
        _check_answers(address)
    else:
        options = {"address": "local", "num_cpus": usable_cores(), "include_dashboard": False}
    terminate = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(log_to_driver=False, configure_logging=False, **options)
    except Exception as error:  # Ray raises many types, Exception itself among them
        reason = " ".join(str(error).split())
        raise UsageError(
            f"Ray{address and f' at RAY_ADDRESS={address}'}: {reason}",
            "see docs/cluster.md, or leave --engine ray out",
        ) from error
    with contextlib.suppress(ValueError):  # not the main thread: Ray has set no handler
        signal.signal(signal.SIGTERM, terminate)
    # Ray has no option for it: it prints what happens to nodes on standard output
    ray._private.worker.print_to_stdstream = lambda *_, **__: None
    return ray


def _ray() -> Any:
    # read when Ray is imported. Without it, Ray sends no token to a cluster that has an address
    if os.environ.get("RAY_ADDRESS") and _has_token():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        import ray
    except ImportError as error:
        raise UsageError("--engine ray: Ray is not installed", "pip install 'merc[ray]'") from error
    return ray


def _has_token() -> bool:
    """Whether there is a token, for which a cluster asks by default."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return True
    named = os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")
    return Path(named).expanduser().is_file()


def _check_answers(address: str) -> None:
    """Raise UsageError at once where Ray would try for minutes."""
    if address == "auto":  # the cluster of this machine
        return
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdigit():
        raise UsageError(
            f"RAY_ADDRESS={address}: not the address of a Ray cluster",
            "give HOST:PORT, such as head:6379, and run merc on a node of the cluster",
        )
    try:
        socket.create_connection((host, int(port)), PATIENCE).close()
    except OSError as error:
        raise UsageError(
            f"RAY_ADDRESS={address}: no cluster answers ({error.strerror or error})",
            "start one with `ray start --head`, or unset RAY_ADDRESS to use this machine alone",
        ) from error


class _Worker:
    """An actor, and the stream of what it sends about the item that it has."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor
        self.stream: Any = None
        self.ready = False


class RayEngine:
    """The `Engine` of a cluster."""

    def __init__(self, cluster: Cluster, work: Work, jobs: int | None) -> None:
        self.ray, self.cluster, self.most = connect(), cluster, jobs
        check = _Check(
            __version__,
            os.getcwd(),
            _states(cluster.same, times=True),
            _states(cluster.present),
        )
        pickled = bytes(ForkingPickler.dumps(_Remote(work, check)))
        self.arguments = self.ray.put(pickled), cluster
        self.actors = self.ray.remote(_Host).options(
            num_cpus=cluster.cpus, num_gpus=cluster.gpus, memory=cluster.memory * 2**30 or None
        )
        self.streams: dict[Any, _Worker] = {}
        self.looked, self.room = 0.0, 0
        if not self.jobs:
            raise UsageError(
                f"--engine ray: no node has what a worker takes: {self._needs()}",
                "add such a node, or give --jobs to wait for one",
            )

    @property
    def jobs(self) -> int:
        """`jobs` if it is given, so that the cluster may grow; else what the nodes carry now."""
        if self.most is not None:
            return self.most
        if time.monotonic() >= self.looked + LOOK:
            nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
            self.room = sum(self.cluster.room(resources) for resources in nodes)
            self.looked = time.monotonic()
        return self.room

    def start(self) -> _Worker:
        worker = _Worker(self.actors.remote(*self.arguments))
        self._call(worker, None)
        return worker

    def give(self, worker: _Worker, item: Any, alone: bool) -> None:
        self._call(worker, pickle.dumps(item), alone)

    def end(self, worker: _Worker) -> None:
        self.ray.kill(worker.actor)

    def wait(self) -> Iterator[tuple[_Worker, Event, Any]]:
        if not self.streams:  # no node has room
            time.sleep(LOOK)
            return
        ready, _ = self.ray.wait(list(self.streams), timeout=LOOK)
        for stream in ready:
            yield from self._receive(self.streams[stream])

    def stop(self) -> None:
        for worker in self.streams.values():
            self.end(worker)

    def _call(self, worker: _Worker, item: bytes | None, alone: bool = False) -> None:
        worker.stream = worker.actor.run.options(num_returns="streaming").remote(item, alone)
        self.streams[worker.stream] = worker

    def _receive(self, worker: _Worker) -> Iterator[tuple[_Worker, Event, Any]]:
        errors = self.ray.exceptions
        try:
            kind, content = self.ray.get(next(worker.stream))
        except errors.RayTaskError as error:  # a bug, or no process can be started there
            raise MercError(f"a node of the cluster failed: {error}") from error
        except errors.RayError as error:
            if "creation task" in str(error):
                raise _no_merc(error) from error
            del self.streams[worker.stream]
            self.end(worker)
            yield worker, Event.LOST, None
            return
        if kind in (Event.RESULT, Event.DIED):
            del self.streams[worker.stream]
        if kind is Event.DIED:
            self.end(worker)
        if kind is Event.RESULT:
            content = pickle.loads(content)  # noqa: S301 (from a node of the cluster)
        if worker.ready:
            yield worker, kind, content
        elif kind is Event.RESULT and content is None:
            worker.ready = True
            yield worker, Event.READY, None
        elif kind in (Event.RESULT, Event.DIED):  # a node that cannot work at all
            raise content if kind is Event.RESULT else _cannot_load(content)

    def _needs(self) -> str:
        needs = [f"{self.cluster.cpus} CPU"]
        needs += [f"{self.cluster.gpus:g} GPU"] if self.cluster.gpus else []
        needs += [f"{self.cluster.memory:g} GiB"] if self.cluster.memory else []
        return ", ".join(needs)


class _Host:
    """Runs on a node, as an actor: keeps a worker process."""

    def __init__(self, work: bytes, cluster: Cluster) -> None:
        import ray

        node = ray.get_runtime_context().get_node_id()
        resources = next(n["Resources"] for n in ray.nodes() if n["NodeID"] == node)
        room = max(1, cluster.room(resources))
        memory = memory_limit(room) if cluster.memory else None
        self.engine = LocalEngine(work, room, memory, cluster.cpus)
        self.worker: Any = None

    def run(self, item: bytes | None, alone: bool) -> Iterator[tuple[Event, Any]]:
        """Yield the events of an item."""
        self.worker = self.worker or self.engine.start()
        self.engine.give(self.worker, item, alone)
        while True:
            for _, event, content in self.engine.wait():
                if event is Event.READY:
                    continue
                yield event, content
                if event is not Event.MESSAGE:
                    return


@dataclass(frozen=True)
class _Remote:
    """`work` in the worker process of a node. Items and results are pickled: the actor that passes
    them on need not load their classes, and with them torch.
    """

    work: Work
    check: _Check

    def __call__(self, item: bytes | None, send: Send) -> bytes:
        if item is None:
            return pickle.dumps(self.check.reason(self.work))
        return pickle.dumps(self.work(pickle.loads(item), send))  # noqa: S301 (from the driver)


State = tuple[str, int, float | None]  # absolute path, bytes, time of change if it matters


def _states(paths: tuple[Path, ...], times: bool = False) -> tuple[State, ...]:
    return tuple(_state(os.path.abspath(path), times) for path in paths)


def _state(path: str, times: bool) -> State:
    status = os.stat(path)
    return path, status.st_size, status.st_mtime if times else None


@dataclass(frozen=True)
class _Check:
    """Whether a node can work: the same merc, the files, and what `work` needs.

    A node that lacks them would take one item after the other and fail with each.
    """

    version: str
    folder: str  # that the command was started in
    same: tuple[State, ...]
    present: tuple[State, ...]

    def reason(self, work: Work) -> MercError | None:
        """Return why it cannot; None if it can."""
        try:
            self._check_version()
            self._change_folder()
            for path, size, changed in (*self.same, *self.present):
                self._check_file(path, size, changed)
            getattr(work, "check", lambda: None)()
        except Exception as error:  # whatever it is, it ends the run with a message
            remedy = getattr(error, "remedy", "")
            return MercError(f"node {socket.gethostname()}: {_reason(error)}", remedy)
        return None

    def _check_version(self) -> None:
        if self.version != __version__:
            raise MercError(
                f"has merc {__version__}, and this is merc {self.version}",
                "install the same merc on every node",
            )

    def _change_folder(self) -> None:
        """Make relative paths mean the same as on the machine of the command."""
        try:
            os.chdir(self.folder)
        except OSError as error:
            raise MercError(
                f"has no folder {self.folder}", "start merc in a folder that every node has"
            ) from error

    def _check_file(self, path: str, size: int, changed: float | None) -> None:
        try:
            here = _state(path, changed is not None)
        except OSError:
            here = None
        # some network file systems keep times in seconds
        if here is None or here[1] != size or abs((here[2] or 0.0) - (changed or 0.0)) > 2.0:
            raise MercError(
                f"does not see {path}" + ("" if here is None else " as this machine sees it"),
                "use a file system that all nodes share under the same path, or s3:// URLs",
            )


def _reason(error: Exception) -> str:
    return error.reason if isinstance(error, MercError) else f"{type(error).__name__}: {error}"


def _no_merc(error: Exception) -> MercError:
    last = str(error).strip().splitlines()[-1]
    return MercError(
        f"a node of the cluster cannot start a worker: {last}",
        "install the same merc, with the same Python and Ray, on every node",
    )


def _cannot_load(died: WorkerDied) -> MercError:
    return MercError(
        f"a node of the cluster cannot load the models: {died}",
        "see that each worker has enough memory there",
    )
