"""Keep features independent of the number of threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["forget_mkl_threads", "one_thread", "side_by_side"]


@contextmanager
def one_thread(enabled: bool = True) -> Iterator[None]:
    """Run the block with one torch thread, so that its results do not depend on the thread count.

    Several threads sum small products in another order, which changes the last bits.
    """
    before = torch.get_num_threads()
    if enabled:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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


def forget_mkl_threads() -> None:
    """Let the number of threads that CTranslate2 is told count: call this before its first use.

    Its MKL obeys $MKL_NUM_THREADS instead, and reads that once. torch keeps what it has read.
    """
    os.environ.pop("MKL_NUM_THREADS", None)
