"""Keep features independent of the number of threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["one_thread"]


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
