"""`merc benchmark` as typed."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.corpora.synthetic import make_synthetic
from pipeline.corpora.table import save_table


def test_json_is_one_object_and_modalities_are_chosen(tmp_path: Path) -> None:
    save_table(make_synthetic(12, 4, 4, 4), tmp_path / "table")
    options = ["--models", "misa", "--seeds", "1", "--jobs", "1", "--device", "cpu", "--width", "8"]
    options += ["--modalities", "text", "--set", "train.epochs=1", "--json"]
    out = tmp_path / "out"
    arguments = ["benchmark", "--dataset", str(tmp_path / "table"), "--out", str(out), *options]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert list(content) == ["models"] and list(content["models"]) == ["misa"]
    figures = content["models"]["misa"]
    assert set(figures["weighted_f1"]) == {"mean", "sd", "interval"}
    assert figures["step"] > 0 and figures["memory"] > 0
    config = (out / "runs" / "clean" / "misa" / "config.yaml").read_text()
    assert "modalities:\n  - text\n" in config and "d: 8\n" in config


def test_unknown_settings_are_refused(tmp_path: Path) -> None:
    arguments = ["benchmark", "--dataset", "synthetic", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*arguments, "--settings", "mosi"])
    assert result.exit_code == 2
    assert "iemocap or meld" in result.stderr
    assert not (tmp_path / "out").exists()
