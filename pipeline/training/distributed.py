"""The processes of torchrun that share one training."""

from __future__ import annotations

import os

from torch import distributed

__all__ = ["barrier", "leave", "ranks"]


def ranks() -> tuple[int, int]:
    """Return (rank, number of ranks): (0, 1) without torchrun.

    Under torchrun the first call joins the process group (gloo).
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return 0, 1
    if not distributed.is_initialized():
        distributed.init_process_group("gloo")
    return distributed.get_rank(), distributed.get_world_size()


def barrier() -> None:
    """Wait until every rank has come here."""
    if ranks()[1] > 1:
        distributed.barrier()


def leave() -> None:
    """Leave the process group, if `ranks` has joined one."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
