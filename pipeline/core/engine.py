"""Where work runs: what `workers.map_items` asks of an engine.

`local_engine` runs workers on this machine, `ray_engine` on the nodes of a Ray cluster. Which item
comes next, and what happens to the item of a worker that dies, is the same for both.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

__all__ = ["Engine", "Event", "Send", "Work", "WorkerDied"]


class Send(Protocol):
    """What `work` calls to reach the process that gives it items."""

    def __call__(self, *message: Any) -> None:
        """Have `on_message` called with this message."""

    def allow(self, seconds: float) -> None:
        """Limit the time that the item may still take."""


Work = Callable[[Any, Send], Any]


@dataclass(frozen=True)
class WorkerDied:
    """Returned in place of a result: the process working on this item ended.

    exitcode: its exit code, or minus the number of the signal that killed it.
    hung: seconds after which it was stopped because its time was up; None if it was not.
    memory: bytes that it had taken when it was stopped for taking too many; None if it was not.
    lost: whether it was lost with its machine, every time that it was tried.
    """

    exitcode: int
    hung: float | None = None
    memory: int | None = None
    lost: bool = False

    def __str__(self) -> str:
        if self.lost:
            return "the machines that it ran on were lost"
        return f"its process ended with exit code {self.exitcode}"


class Event(Enum):
    """What `Engine.wait` reports of a worker, and the content that comes with it."""

    READY = "it can be given an item"
    MESSAGE = "the arguments of `send`"
    RESULT = "what `work` returned; the worker can be given another item"
    DIED = "WorkerDied; the worker is gone"
    LOST = "the machine is gone, and the worker with it"


class Engine(Protocol):
    """Starts workers and gives them items, one at a time each."""

    @property
    def jobs(self) -> int:
        """How many workers there may be. It can change."""

    def start(self) -> Hashable:
        """Start a worker. It can be given an item when `wait` says that it is ready."""

    def give(self, worker: Any, item: Any, alone: bool) -> None:
        """Give an item to a worker that has none. alone: no other item is in work meanwhile."""

    def end(self, worker: Any) -> None:
        """End a worker that has no item."""

    def wait(self) -> Iterator[tuple[Any, Event, Any]]:
        """Wait for news of the workers for a while; yield (worker, event, content)."""

    def stop(self) -> None:
        """End all workers, whatever they do."""
