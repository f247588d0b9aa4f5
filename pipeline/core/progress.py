"""How long-running functions report their progress. Drawing it is the caller's business."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pipeline.core.failures import Failure

__all__ = ["NoProgress", "Progress", "Stage", "add_costs", "allow_time", "no_stage"]


class Stage(Protocol):
    """Called when the work on one item enters a stage, and while the stage advances."""

    def __call__(self, name: str, done: float | None = None) -> None:
        """done: share of the stage that is finished, 0 to 1; None if unknown."""


def no_stage(name: str, done: float | None = None) -> None:
    """Report no stages."""


def allow_time(stage: Stage, seconds: float) -> None:
    """Say how many seconds of media the item has, if `stage` belongs to `failures.run_each`."""
    allow = getattr(stage, "allow", None)
    if allow is not None:
        allow(seconds)


def add_costs(stage: Stage, names: Iterable[str]) -> None:
    """Say that the work of these stages was done side by side: only their sum is known."""
    add = getattr(stage, "add", None)
    if add is not None:
        add(names)


class Progress(Protocol):
    """Receives the progress of a run over several items."""

    def start(self, total: int) -> None:
        """Begin a run over `total` items. A later call adds more items."""

    def update(self, index: int, name: str, stage: str, done: float | None) -> None:
        """Item `index` has entered or advanced in a stage; done is a share, 0 to 1."""

    def finish(self, index: int, name: str, failure: Failure | None) -> None:
        """Item `index` is finished."""

    def report(self, failure: Failure) -> None:
        """An input failed before any work on it began."""


class NoProgress:
    """A `Progress` that shows nothing."""

    def start(self, total: int) -> None: ...
    def update(self, index: int, name: str, stage: str, done: float | None) -> None: ...
    def finish(self, index: int, name: str, failure: Failure | None) -> None: ...
    def report(self, failure: Failure) -> None: ...
