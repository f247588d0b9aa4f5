"""`merc export TABLE`: a labelled table as the pickles of other programs."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from pipeline.cli.app import app

WIDTHS = {"text": 1024, "audio": 300, "visual": 342}
LABELS = ["anger", "joy", "neutral", ""]  # MELD's numbers: 6, 4, 0


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table without table.json, so its labels are in alphabetical order."""
    folder = tmp_path / "mine"
    folder.mkdir()
    rows = [
        (f"{split} {k}", str(k), f"speaker {k % 3}", "hello", LABELS[k % 4], split)
        for split in ("train", "valid", "test")
        for k in range(4)
    ]
    columns = ["dialogue", "utterance", "speaker", "text", "label", "split"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "utterances.csv", index=False)
    rng = np.random.default_rng(0)
    for modality, width in WIDTHS.items():
        np.save(folder / f"{modality}.npy", rng.normal(size=(12, width)).astype(np.float32))
    return folder


def export(*arguments: object):
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


def test_the_fourteen_fields_of_meld(table: Path) -> None:
    out = table.parent / "out.pkl"
    result = export(table, "--format", "cfn-esa", "--out", out)
    assert result.exit_code == 0, result.output
    assert "r1, r2, r3 and r4 are the same" in result.stdout
    assert "3 of 12 utterances have no label" in result.stdout
    values = pickle.loads(out.read_bytes())  # noqa: S301  our own file
    assert len(values) == 14
    assert [values[2][f"train {k}"] for k in range(4)] == [[6], [4], [0], [-1]]
    assert [values[3][f"train {k}"] for k in range(4)] == [[2], [1], [0], [-1]]
    assert len(values[11]) == 8 and len(values[12]) == 4  # train with valid, test
    np.testing.assert_array_equal(values[4]["test 0"][0], values[7]["test 0"][0])


def test_several_layouts_and_what_exists(table: Path) -> None:
    formats = "sdt,mmgcn,cosmic,m3net"
    result = export(table, "--format", formats)
    assert result.exit_code == 0, result.output
    for name, fields in (("sdt", 13), ("mmgcn", 10), ("cosmic", 11), ("m3net", 13)):
        data = (table.parent / f"mine.{name}.pkl").read_bytes()
        assert len(pickle.loads(data)) == fields  # noqa: S301
    refused = export(table, "--format", formats, "--out", table.parent)
    assert refused.exit_code == 1 and "exists already" in refused.stderr
    assert export(table, "--format", "sdt,eaf").exit_code == 2


def test_a_table_without_labels_says_so_before_it_is_written(table: Path) -> None:
    rows = pd.read_csv(table / "utterances.csv", dtype=str, keep_default_na=False)
    rows.assign(label="").to_csv(table / "utterances.csv", index=False)
    (table / "audio.npy").unlink()  # so that writing fails
    result = export(table, "--format", "sdt", "--out", table.parent / "out.pkl")
    assert result.exit_code == 1 and "audio features are missing" in result.stderr
    assert "programs that need labels will stop" in result.stderr
