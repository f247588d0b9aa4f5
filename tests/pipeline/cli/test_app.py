"""The command line as typed: help, version, arguments that do not go together."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline import __version__
from pipeline.cli.app import app
from pipeline.cli.doctor import examine

COMMANDS = [
    ["label"],
    ["extract"],
    ["train"],
    ["evaluate"],
    ["compare"],
    ["ablate"],
    ["benchmark"],
    ["import"],
    ["ship"],
    ["doctor"],
    ["store", "ls"],
    ["store", "verify"],
    ["store", "export"],
    ["corpus", "check"],
    ["finetune", "text"],
    ["pretrain", "visual"],
]


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "100", "NO_COLOR": "1"})


def test_version():
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout == f"merc {__version__}\n"


def test_no_command_prints_the_help():
    result = run()
    assert result.exit_code == 0
    assert result.stdout == run("--help").stdout


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_ends_with_an_example(command):
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert f"merc {' '.join(command)}" in result.stdout.split("Examples:")[1]


def test_help_of_label_has_panels():
    shown = run("label", "--help").stdout
    for panel in ("Input", "Speech", "Model", "Output"):
        assert f" {panel} " in shown
    assert "[default: merc-offline]" in shown


def test_shell_completion_is_on():
    assert "--install-completion" in run("--help").stdout


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["extract"], "name either recordings"),
        (["extract", "a.mp4", "--dataset", "meld"], "name either recordings"),
        (["extract", "a.mp4", "--table", "t"], "go with --dataset"),
        (["extract", "--dataset", "meld", "--speakers", "2"], "its own transcripts"),
        (["train", "--dataset", "paired", "--out", "r", "--profile", "offline"], "--profile"),
        (["train", "--dataset", "paired", "--out", "r", "--finetune", "t"], "--finetune"),
        (["train", "--dataset", "synthetic", "--out", "r", "--finetune", "t"], "--finetune"),
        (["label", "no-such-file.mp4"], "no-such-file.mp4"),
        (["store", "ls", "no-such-store"], "no such store"),
    ],
)
def test_unusable_arguments_exit_with_2(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not list(tmp_path.iterdir())


def test_doctor_says_if_every_start_compiles_torch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path))  # no bytecode there
    for kept, count in ((False, 0), (True, 1)):
        monkeypatch.setattr(sys, "dont_write_bytecode", kept)
        assert len(examine()["slow"]) == count
    (part,) = examine()["slow"]
    assert "python -m compileall" in part["remedy"]
