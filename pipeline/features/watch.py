"""Extract recordings as they arrive in a folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pipeline.core.errors import MercError, UsageError
from pipeline.core.failures import Failure
from pipeline.core.progress import Progress
from pipeline.core.remote import url_of
from pipeline.features.extract import Extraction, Summary
from pipeline.media.inputs import Input, find_media

__all__ = ["arrivals", "watch"]

PAUSE = 2.0  # s between two looks; a file that did not change meanwhile is complete


def watch(
    paths: Sequence[Path],
    extraction: Extraction,
    progress: Progress | None = None,
    pause: float = PAUSE,
) -> Iterator[Summary]:
    """Extract what folders hold, then what arrives; yield the summary of each round.

    A recording is taken when its size and time have not changed between two looks. One that failed
    is tried again when it changes. Never ends by itself.

    Raises UsageError for a path that is no folder, and what would fail with every recording.
    """
    for path in paths:
        if not path.is_dir() and not url_of(path):
            raise UsageError(f"--watch {path}: no such folder", "name the folder to watch")
    extraction.open()
    extraction.check()
    for inputs, unusable in arrivals(paths, lambda: time.sleep(pause)):
        yield extraction.run(inputs, progress, unusable)


def arrivals(
    paths: Sequence[Path], wait: Callable[[], None]
) -> Iterator[tuple[list[Input], list[Failure]]]:
    """Yield the recordings that are new or changed, when they are complete, and new failures.

    wait: called between two looks at the folders.
    """
    before: dict[str, tuple[int, int]] = {}
    taken: dict[str, tuple[int, int]] = {}
    reported: set[Failure] = set()
    while True:
        inputs, failures = _look(paths)
        states = {str(item): _state(item) for item in inputs}
        ready = [
            item
            for item in inputs
            if states[str(item)] == before.get(str(item)) != taken.get(str(item))
        ]
        new = [failure for failure in failures if failure not in reported]
        reported.update(new)
        if ready or new:
            taken.update((str(item), states[str(item)]) for item in ready)
            yield ready, new
        before = states
        wait()


def _look(paths: Sequence[Path]) -> tuple[list[Input], list[Failure]]:
    inputs: list[Input] = []
    failures: list[Failure] = []
    for path in paths:
        try:
            found, failed = find_media([path], remote=True)
        except MercError:  # no recordings in it yet, or a connection that may come back
            continue
        inputs += found
        failures += failed
    return inputs, failures


def _state(item: Input) -> tuple[int, int]:
    """Return size and time of change, which say whether a file is still being written."""
    if item.url:  # complete as soon as it has a name
        return item.bytes, 0
    try:
        status = item.path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns
