"""Run code with different numbers of torch's threads."""

from __future__ import annotations

from collections.abc import Callable

import torch


def with_threads(compute: Callable[[], bytes]) -> list[bytes]:
    """Return what is computed with one, two and three threads; none of them is left set."""
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(compute())
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    return results
