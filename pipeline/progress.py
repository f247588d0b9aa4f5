"""What a long command shows while it works: one line per file and stage, in a terminal only."""

from __future__ import annotations

from typing import Any

from pipeline.failures import Failure

__all__ = ["Display"]


class Display:
    """A rich progress display on standard error; use as a context manager and hand it to `failures.run_each`.

    Not in a terminal it draws nothing; failures are printed in both cases, as soon as they are known.
    """

    def __init__(self, total: int, quiet: bool = False) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.bars = Progress(TextColumn("{task.description}", markup=False), BarColumn(bar_width=24),
                             MofNCompleteColumn(), TimeElapsedColumn(), console=self.console, transient=True,
                             disable=quiet or not self.console.is_terminal)
        self.whole = self.bars.add_task("files", total=total)
        self.files: dict[int, Any] = {}

    def __enter__(self) -> Display:
        self.bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bars.stop()

    def begin(self, index: int, name: str, stage: str, done: float | None) -> None:
        if index not in self.files:
            self.files[index] = self.bars.add_task(name, total=100)
        self.bars.update(self.files[index], description=f"{name}: {stage}", completed=100 * (done or 0))

    def end(self, index: int, name: str, failure: Failure | None) -> None:
        if index in self.files:
            self.bars.remove_task(self.files.pop(index))
        self.bars.advance(self.whole)
        if failure:
            self.tell(failure)

    def tell(self, failure: Failure) -> None:
        self.console.print(f"failed: {failure}", style="red", markup=False)
