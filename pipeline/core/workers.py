"""Map a function over items: in this process, in several local ones, or on a cluster.

Each worker process holds its own copy of `work`, so the models that `work` opens are loaded once
per process. A worker that dies (out of memory, a crash inside a decoder) or hangs costs the item it
was working on and no other. Workers end with their parent, however it ends.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.core.engine import Engine, Event, Send, Work, WorkerDied
from pipeline.core.errors import UsageError
from pipeline.core.local_engine import LocalEngine
from pipeline.core.ray_engine import Cluster

__all__ = ["Send", "WorkerDied", "map_items"]

LOSSES = 3  # machines that an item may be lost with before it is given up


def map_items(
    work: Work,
    items: Sequence[Any],
    jobs: int | None = 1,
    on_message: Callable[..., None] = lambda index, *message: None,
    tries: int = 1,
    isolate: bool = False,
    memory: float | None = None,
    cluster: Cluster | None = None,
) -> Iterator[tuple[int, Any]]:
    """Yield (index, work(item, send)) in the order in which items finish.

    While it works, `work` may call `send(*message)`; `on_message(index, *message)` then runs in
    this process. With jobs > 1, work, items, messages and results must pickle (multiprocessing,
    spawn). An exception ends its worker, so let `work` return its errors, as
    `failures.run_each` does. Closing the iterator ends the workers.

    tries: how often an item is given to a process before it is reported as `WorkerDied`. Later
        tries come after all other items, one at a time: memory may have run out because of the
        other processes.

    isolate: use a worker process even if jobs is 1.
    memory: bytes that the workers may take together. One that takes more than its share is killed;
        on a later try it may take all.
    cluster: run the workers there. jobs: how many at most; None: as many as there is room for. An
        item whose machine is lost is given to another worker, and this does not count as a try.

    With jobs > 1, `send.allow(seconds)` limits the time that the item may still take; a worker that
    takes longer is killed, and its item is not tried again.

    Raises UsageError if jobs < 1, or MercError for a cluster that cannot be used.

    >>> list(map_items(lambda item, send: 2 * item, [1, 2]))
    [(0, 2), (1, 4)]
    """
    if jobs is not None and jobs < 1:
        raise UsageError(f"--jobs {jobs}: must be at least 1", "choose a positive number")
    if cluster and items:
        yield from _Pool(cluster.engine(work, jobs), items, on_message, tries).run()
        return
    jobs = min(jobs or 1, len(items))
    if jobs > 1 or (isolate and jobs):
        yield from _Pool(LocalEngine(work, jobs, memory), items, on_message, tries).run()
        return
    for index, item in enumerate(items):
        yield index, work(item, _Local(on_message, index))


@dataclass(frozen=True)
class _Local:
    """`send` for work in this process, which no one can stop."""

    on_message: Callable[..., None]
    index: int

    def __call__(self, *message: Any) -> None:
        self.on_message(self.index, *message)

    def allow(self, seconds: float) -> None: ...


class _Pool:
    """The workers of an engine, the items, and those that are to be tried again alone."""

    def __init__(
        self, engine: Engine, items: Sequence[Any], on_message: Callable[..., None], tries: int
    ) -> None:
        self.engine, self.items, self.on_message, self.tries = engine, items, on_message, tries
        self.waiting = deque((index, 1) for index in range(len(items)))  # and the number of the try
        self.again: deque[tuple[int, int]] = deque()
        self.starting: set[Hashable] = set()
        self.working: dict[Hashable, tuple[int, int]] = {}
        self.losses: Counter[int] = Counter()

    def run(self) -> Iterator[tuple[int, Any]]:
        try:
            while self.waiting or self.working or self.again:
                if not self.waiting and not self.working:
                    self.waiting.append(self.again.popleft())
                while len(self.starting) < min(
                    len(self.waiting), self.engine.jobs - len(self.working)
                ):
                    self.starting.add(self.engine.start())
                for worker, event, content in self.engine.wait():
                    yield from self._handle(worker, event, content)
        finally:
            self.engine.stop()

    def _handle(self, worker: Hashable, event: Event, content: Any) -> Iterator[tuple[int, Any]]:
        if event is Event.READY:
            self.starting.discard(worker)
            self._give_next(worker)
        elif event is Event.MESSAGE:
            self.on_message(self.working[worker][0], *content)
        elif event is Event.RESULT:
            index, _ = self.working.pop(worker)
            yield index, content
            self._give_next(worker)
        elif event is Event.DIED:
            index, number = self.working.pop(worker)
            if content.hung is None and number < self.tries:
                self.again.append((index, number + 1))
            else:
                yield index, content
        elif worker in self.starting:  # lost before it had an item
            self.starting.discard(worker)
        else:
            index, number = self.working.pop(worker)
            self.losses[index] += 1
            if self.losses[index] < LOSSES:
                self.waiting.appendleft((index, number))
            else:
                yield index, WorkerDied(0, lost=True)

    def _give_next(self, worker: Hashable) -> None:
        """Give the next item to this worker; without one, end it."""
        if not self.waiting:
            self.engine.end(worker)
            return
        index, number = self.working[worker] = self.waiting.popleft()
        self.engine.give(worker, self.items[index], alone=number > 1)
