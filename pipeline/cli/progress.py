"""Progress bars on standard error, drawn in a terminal only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pipeline.cli.stopping import check_interrupted, describe_finished, finished_text
from pipeline.cli.terminal import clean, console, plain
from pipeline.core.failures import Failure
from pipeline.core.pace import Pace

__all__ = ["RunProgress", "finetuning_progress", "training_progress"]


class RunProgress:
    """Draw a `core.progress.Progress`: one bar for the run and one for each file in work.

    Use it as a context manager. Failures are printed as soon as they are known, terminal or not.
    """

    def __init__(self) -> None:
        self.console = console(error=True, soft_wrap=True)
        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.pace = Pace()
        self.run = self.bars.add_task("files", total=0)
        self.files: dict[int, Any] = {}
        self.finished: list[str] = []
        self._stack = ExitStack()

    def __enter__(self) -> RunProgress:
        describe = describe_finished(lambda: finished_text(self.finished, self.pace.total))
        self._stack.enter_context(describe)
        self.bars.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.bars.stop()
        self._stack.__exit__(*error)

    def start(self, total: int) -> None:
        self.pace.total += total
        self.bars.update(self.run, total=self.pace.total)

    def update(self, index: int, name: str, stage: str, done: float | None) -> None:
        if index not in self.files:
            self.files[index] = self.bars.add_task(clean(name), total=100)
        self.bars.update(
            self.files[index], description=clean(f"{name}: {stage}"), completed=100 * (done or 0)
        )

    def finish(self, index: int, name: str, failure: Failure | None) -> None:
        check_interrupted()
        if index in self.files:
            self.bars.remove_task(self.files.pop(index))
        self.pace.finish(failed=failure is not None)
        self.bars.update(self.run, advance=1, description=f"files: {self.pace}")
        if failure:
            self.report(failure)
        else:
            self.finished.append(name)

    def report(self, failure: Failure) -> None:
        self.console.print(plain(f"failed: {failure}", "red"))


Report = Callable[[dict[str, Any]], None]


@contextmanager
def training_progress(keep: bool = True) -> Iterator[Report]:
    """Draw a bar for each seed in training; yield the function that takes the rows of `train`.

    keep: False removes the bar of a seed that is finished.
    """
    resumes = "what was finished is written; repeat the command to continue"
    with describe_finished(lambda: resumes), _bars() as bars:

        def report(row: dict[str, Any]) -> None:
            name = f"{row['row']}, seed {row['seed']}" if "row" in row else f"seed {row['seed']}"
            losses = " ".join(f"{row[f'loss{k}']:.3f}" for k in (1, 2, 3))
            gammas = " ".join(f"{row[f'gamma{k}']:.2f}" for k in (1, 2, 3))
            state = f"L {losses}  γ {gammas}  F1 {row['select_weighted_f1']:.3f}"
            bars.show(name, row["epoch"], row["epochs"], state)
            if not keep and row["epoch"] == row["epochs"]:
                bars.remove(name)

        yield report


@contextmanager
def finetuning_progress() -> Iterator[Report]:
    """Draw a bar for each seed in fine-tuning; yield the function that takes its rows."""
    with _bars() as bars:

        def report(row: dict[str, Any]) -> None:
            state = f"loss {row['loss']:.3f}  valid F1 {row['weighted_f1']:.3f}"
            bars.show(f"seed {row['seed']}", row["step"], row["steps"], state)

        yield report


@contextmanager
def _bars() -> Iterator[_Bars]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}", markup=False),
    )
    to = console(error=True)
    with Progress(*columns, console=to, disable=not to.is_terminal) as progress:
        yield _Bars(progress)


class _Bars:
    """Bars by name; one appears when it is first shown."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.tasks: dict[str, Any] = {}

    def show(self, name: str, completed: int, total: int, state: str) -> None:
        if name not in self.tasks:
            self.tasks[name] = self.progress.add_task(clean(name), total=total, state="")
        self.progress.update(self.tasks[name], completed=completed, total=total, state=state)

    def remove(self, name: str) -> None:
        self.progress.remove_task(self.tasks.pop(name))
