"""Progress bars on standard error, drawn in a terminal only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pipeline.core.failures import Failure

__all__ = ["RunProgress", "finetuning_progress", "training_progress"]


class RunProgress:
    """Draw a `core.progress.Progress`: one bar for the run and one for each file in work.

    Use it as a context manager. Failures are printed as soon as they are known, terminal or not.
    """

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.total = 0
        self.run = self.bars.add_task("files", total=0)
        self.files: dict[int, Any] = {}

    def __enter__(self) -> RunProgress:
        self.bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bars.stop()

    def start(self, total: int) -> None:
        self.total += total
        self.bars.update(self.run, total=self.total)

    def update(self, index: int, name: str, stage: str, done: float | None) -> None:
        if index not in self.files:
            self.files[index] = self.bars.add_task(name, total=100)
        self.bars.update(
            self.files[index], description=f"{name}: {stage}", completed=100 * (done or 0)
        )

    def finish(self, index: int, name: str, failure: Failure | None) -> None:
        if index in self.files:
            self.bars.remove_task(self.files.pop(index))
        self.bars.advance(self.run)
        if failure:
            self.report(failure)

    def report(self, failure: Failure) -> None:
        self.console.print(f"failed: {failure}", style="red", markup=False)


@contextmanager
def training_progress(seeds: list[int], epochs: int) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yields what takes the rows that `fit` reports."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        tasks = {seed: progress.add_task(f"seed {seed}", total=epochs, state="") for seed in seeds}

        def show(row: dict[str, Any]) -> None:
            losses = " ".join(f"{row[f'loss{k}']:.3f}" for k in (1, 2, 3))
            gamma = " ".join(f"{row[f'gamma{k}']:.2f}" for k in (1, 2, 3))
            progress.update(
                tasks[row["seed"]],
                completed=row["epoch"],
                state=f"L {losses}  γ {gamma}  F1 {row['select_weighted_f1']:.3f}",
            )

        yield show


@contextmanager
def finetuning_progress(shown: bool) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A bar for each seed and fold of a fine-tuning, once it begins; yields what takes the rows that `tune` reports."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}"),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as progress:
        tasks: dict[str, Any] = {}

        def show(row: dict[str, Any]) -> None:
            name = f"fold {row['fold'] + 1}" if "fold" in row else f"seed {row['seed']}"
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=row["steps"], state="")
            progress.update(
                tasks[name],
                completed=row["step"],
                state=f"loss {row['loss']:.3f}  valid F1 {row['weighted_f1']:.3f}",
            )

        yield show
