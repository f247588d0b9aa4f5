"""Curves for TensorBoard, on request: what `merc train` reports of each epoch, as event files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["board", "summary_writer"]


def summary_writer() -> Any:
    """The class torch.utils.tensorboard.SummaryWriter.  Raises ValueError where its package is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ValueError(
            f"--tensorboard: the package tensorboard is not installed ({error}); "
            "pip install 'merc[tensorboard]', or leave the option out: history.csv has it all"
        ) from error
    return SummaryWriter


@contextmanager
def board(folder: Path) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yields what takes the rows that `fit` reports: folder/seed-N holds the losses, γ and selection scores of a seed.

    A resumed run goes on in the same curves.
    """
    make = summary_writer()
    writers: dict[int, Any] = {}

    def write(row: dict[str, Any]) -> None:
        seed, epoch = row["seed"], row["epoch"]
        if seed not in writers:  # steps written before a kill and repeated now are purged
            writers[seed] = make(str(folder / f"seed-{seed}"), purge_step=epoch)
        for name, value in row.items():
            group, numbered = next(
                ((g, name) for g in ("loss", "gamma", "select") if name.startswith(g)), ("", "")
            )
            if numbered:
                writers[seed].add_scalar(f"{group}/{name}", value, epoch)
        writers[seed].flush()

    try:
        yield write
    finally:
        for writer in writers.values():
            writer.close()
