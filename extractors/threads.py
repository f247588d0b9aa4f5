"""Keep features independent of the number of threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["forget_mkl_threads", "one_thread"]


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


def forget_mkl_threads() -> None:
    """Let the number of threads that CTranslate2 is told count: call this before its first use.

    Its MKL obeys $MKL_NUM_THREADS instead, and reads that once. torch keeps what it has read.
    """
    os.environ.pop("MKL_NUM_THREADS", None)
