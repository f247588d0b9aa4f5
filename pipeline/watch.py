"""Live progress of seeds in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["bars", "tuning"]


@contextmanager
def bars(seeds: list[int], epochs: int) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yields what takes the rows that `fit` reports."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
               TextColumn("{task.fields[state]}"))
    with Progress(*columns, console=Console(stderr=True)) as progress:
        tasks = {seed: progress.add_task(f"seed {seed}", total=epochs, state="") for seed in seeds}

        def show(row: dict[str, Any]) -> None:
            losses = " ".join(f"{row[f'loss{k}']:.3f}" for k in (1, 2, 3))
            gamma = " ".join(f"{row[f'gamma{k}']:.2f}" for k in (1, 2, 3))
            progress.update(tasks[row["seed"]], completed=row["epoch"],
                            state=f"L {losses}  γ {gamma}  F1 {row['select_weighted_f1']:.3f}")

        yield show


@contextmanager
def tuning(shown: bool) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A bar for each seed and fold of a fine-tuning, once it begins; yields what takes the rows that `tune` reports."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
               TextColumn("{task.fields[state]}"))
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as progress:
        tasks: dict[str, Any] = {}

        def show(row: dict[str, Any]) -> None:
            name = f"fold {row['fold'] + 1}" if "fold" in row else f"seed {row['seed']}"
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=row["steps"], state="")
            progress.update(tasks[name], completed=row["step"],
                            state=f"loss {row['loss']:.3f}  valid F1 {row['weighted_f1']:.3f}")

        yield show
