"""Features must not depend on how many threads made them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["one_thread"]


@contextmanager
def one_thread(wanted: bool = True) -> Iterator[None]:
    """torch on one thread while the block runs: several sum small products in another order, so other bytes."""
    before = torch.get_num_threads()
    if wanted:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
