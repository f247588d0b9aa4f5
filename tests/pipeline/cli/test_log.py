"""`--log json`: every line is an object that tells how the run gets on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.cli.log import JsonProgress, log_progress
from pipeline.core.errors import UsageError
from pipeline.core.failures import Failure
from pipeline.core.pace import Pace, duration_text


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_the_events_of_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    failure = Failure("b\x1b.mp4", "open", "empty file", "copy it again")
    with log_progress("json") as progress:
        assert isinstance(progress, JsonProgress)
        progress.start(2)
        for done in (None, 0.5, 1.0):
            progress.update(0, "a.mp4", "visual", done)
        progress.finish(0, "a.mp4", None)
        progress.finish(1, "b\x1b.mp4", failure)
        progress.summary(costs={"visual": 1.5})
    start, stage, finished, failed, summary = lines(capsys.readouterr().err)
    assert start["event"] == "start" and start["total"] == 2
    assert (stage["event"], stage["input"], stage["stage"]) == ("stage", "a.mp4", "visual")
    assert (finished["done"], finished["total"], finished["failed"]) == (1, 2, 0)
    assert finished["seconds"] >= 0 and finished["remaining"] >= 0
    assert (failed["input"], failed["reason"], failed["failed"]) == ("b\x1b.mp4", "empty file", 1)
    assert failed["remaining"] == 0
    assert summary["costs"] == {"visual": 1.5} and summary["time"] >= start["time"]


def test_an_unknown_log_is_refused() -> None:
    with pytest.raises(UsageError, match="--log xml"):
        log_progress("xml")


def test_the_command_writes_lines_and_costs(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    (tmp_path / "b.wav").touch()
    options = ["--profile", "offline", "--modality", "text", "--log", "json"]
    command = ["extract", str(tmp_path), *options, "--out", str(tmp_path / "store")]
    shown = CliRunner().invoke(app, command)
    events = [line for line in shown.stderr.splitlines() if line.startswith("{")]
    kinds = [json.loads(line)["event"] for line in events]
    assert shown.exit_code == 1
    assert kinds == ["start", "stage", "failed", "stage", "failed", "summary"]
    assert "open" in json.loads(events[-1])["costs"]


@pytest.fixture
def pace() -> Iterator[Pace]:
    times = iter([0.0, 10.0, 20.0, 40.0])
    yield Pace(total=4, clock=lambda: next(times))


def test_pace(pace: Pace) -> None:
    assert pace.remaining is None and pace.per_minute == 0 and str(pace) == "0 of 4"
    pace.finish(failed=False)
    assert pace.remaining == 30 and pace.per_minute == 6
    pace.finish(failed=True)
    assert str(pace) == "2 of 4, 1 failed, 6.0 a minute, 20 s left"
    pace.total = 3
    pace.finish(failed=False)
    assert str(pace) == "3 of 3, 1 failed, 4.5 a minute"


def test_durations() -> None:
    assert duration_text(119) == "2 min" and duration_text(0) == "0 s"
    assert duration_text(7190) == "2 h 0 min"
