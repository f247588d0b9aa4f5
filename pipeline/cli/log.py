"""`--log json`: one JSON object per line on standard error, for operators and their tools.

Every line has `time` (seconds since 1970) and `event`:

    start     total
    stage     input, stage
    finished  input, seconds; done, total, failed, per_minute, remaining (seconds, or null)
    failed    the same, and stage, reason, remedy
    summary   costs (stage -> CPU seconds), and what the command adds
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Any

from pipeline.cli.progress import RunProgress
from pipeline.cli.stopping import check_interrupted, describe_finished, finished_text
from pipeline.cli.terminal import print_line
from pipeline.core.errors import UsageError
from pipeline.core.failures import Failure
from pipeline.core.pace import Pace

__all__ = ["JsonProgress", "log_progress", "log_summary"]

FORMATS = ("text", "json")


def log_progress(name: str) -> RunProgress | JsonProgress:
    """Return the progress that `--log` names, a context manager. Raises UsageError."""
    if name not in FORMATS:
        raise UsageError(f"--log {name}: unknown", f"choose {' or '.join(FORMATS)}")
    return JsonProgress() if name == "json" else RunProgress()


def log_summary(
    progress: RunProgress | JsonProgress, costs: dict[str, float], **content: Any
) -> None:
    """Write the line `summary`, if lines are written. costs: stage -> CPU seconds."""
    if isinstance(progress, JsonProgress):
        rounded = {stage: round(seconds, 2) for stage, seconds in costs.items()}
        progress.summary(**content, costs=rounded)


class JsonProgress:
    """Write a `core.progress.Progress` as lines of JSON. Use it as a context manager."""

    def __init__(self) -> None:
        self.pace = Pace()
        self.stages: dict[int, str] = {}
        self.begun: dict[int, float] = {}
        self.finished: list[str] = []

    def __enter__(self) -> JsonProgress:
        self._describe = describe_finished(lambda: finished_text(self.finished, self.pace.total))
        self._describe.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._describe.__exit__(*error)

    def start(self, total: int) -> None:
        self.pace.total += total
        self._write("start", total=self.pace.total)

    def update(self, index: int, name: str, stage: str, done: float | None) -> None:
        self.begun.setdefault(index, time.monotonic())
        if self.stages.get(index) != stage:
            self.stages[index] = stage
            self._write("stage", input=name, stage=stage)

    def finish(self, index: int, name: str, failure: Failure | None) -> None:
        check_interrupted()
        self.pace.finish(failed=failure is not None)
        seconds = round(time.monotonic() - self.begun.pop(index, time.monotonic()), 3)
        self.stages.pop(index, None)
        if failure is None:
            self.finished.append(name)
            self._write("finished", input=name, seconds=seconds, **self._state())
        else:
            self._write("failed", **asdict(failure), seconds=seconds, **self._state())

    def report(self, failure: Failure) -> None:
        self._write("failed", **asdict(failure), **self._state())

    def summary(self, **content: Any) -> None:
        """Write the last line."""
        self._write("summary", **content)

    def _state(self) -> dict[str, Any]:
        pace, left = self.pace, self.pace.remaining
        return {
            "done": pace.done,
            "total": pace.total,
            "failed": pace.failed,
            "per_minute": round(pace.per_minute, 2),
            "remaining": None if left is None else round(left, 1),
        }

    def _write(self, event: str, **content: Any) -> None:
        line = {"time": round(time.time(), 3), "event": event, **content}
        print_line(json.dumps(line), error=True)
