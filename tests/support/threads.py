"""Run code with different numbers of threads."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch


def with_threads(compute: Callable[[], bytes]) -> list[bytes]:
    """Return what is computed with one, two and three threads of merc and of torch."""
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("OMP_NUM_THREADS", str(threads))
                results.append(compute())
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    return results
