"""Work on several threads, so that no value depends on their number."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

__all__ = ["cancelling_pool", "load_beside_torch", "read_ahead", "side_by_side"]

AHEAD = 4  # items, such as frames, that are in memory before they are needed
T = TypeVar("T")


def side_by_side(threads: int) -> Executor:
    """Return an executor that runs calls on so many threads, or at once if it is one.

    >>> with side_by_side(1) as pool:
    ...     pool.submit(max, 1, 2).result()
    2
    """
    return ThreadPoolExecutor(threads) if threads > 1 else _AtOnce()


class _AtOnce(Executor):
    """Run each call when it is submitted, in the caller's thread."""

    def submit(self, function: Any, /, *arguments: Any, **options: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(function(*arguments, **options))
        return future


@contextmanager
def cancelling_pool(threads: int) -> Iterator[Executor]:
    """Provide so many threads; when the block ends or is interrupted, what waits is not begun."""
    pool = ThreadPoolExecutor(threads)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def read_ahead(items: Iterable[T], threads: int) -> Iterator[T]:
    """Yield the items; with several threads, the next ones are made on one of them meanwhile.

    >>> list(read_ahead(iter("abc"), 2))
    ['a', 'b', 'c']
    """
    if threads < 2:
        yield from items
        return
    iterator, end = iter(items), object()
    with cancelling_pool(1) as pool:
        waiting = deque(pool.submit(next, iterator, end) for _ in range(AHEAD))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(pool.submit(next, iterator, end))
            yield item  # type: ignore[misc]  # not the end


def load_beside_torch(model: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """Call a class of CTranslate2 so that its number of threads and torch's are independent.

    It gives the thread that loads a model its own number of OpenMP threads, which torch would take
    over: so it is loaded in another one. Its MKL obeys $MKL_NUM_THREADS, and reads that once, so
    the variable is removed; torch keeps what it has read.
    """
    os.environ.pop("MKL_NUM_THREADS", None)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(model, *arguments, **options).result()
