"""Curves for TensorBoard: what a training reports after every epoch, as event files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.core.errors import UsageError

__all__ = ["event_files", "summary_writer"]

GROUPS = ("loss", "gamma", "select")  # prefixes of the columns that become curves


def summary_writer() -> Any:
    """Return the class torch.utils.tensorboard.SummaryWriter.

    Raises UsageError if the package tensorboard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError(
            f"--tensorboard: the package tensorboard is not installed ({error})",
            "pip install 'merc[tensorboard]', or leave the option out: history.csv has all values",
        ) from error
    return SummaryWriter


@contextmanager
def event_files(folder: Path) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yield a report that writes losses, γ and selection scores of each seed to `folder/seed-N`.

    A resumed training continues the same curves.
    """
    make = summary_writer()
    writers: dict[int, Any] = {}

    def write(row: dict[str, Any]) -> None:
        seed, epoch = row["seed"], row["epoch"]
        if seed not in writers:
            # epochs that were written before an interruption and are repeated now are purged
            writers[seed] = make(str(folder / f"seed-{seed}"), purge_step=epoch)
        for name, value in row.items():
            for group in GROUPS:
                if name.startswith(group):
                    writers[seed].add_scalar(f"{group}/{name}", value, epoch)
        writers[seed].flush()

    try:
        yield write
    finally:
        for writer in writers.values():
            writer.close()
