"""JSON files of a wrong shape get one message that names the file and the place."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import MercError
from pipeline.core.run_folder import find_run
from pipeline.core.schemas import (
    About,
    EncoderAbout,
    FaceNetAbout,
    Fingerprints,
    History,
    Metrics,
    Settings,
    UpdateAbout,
    read_json,
)
from pipeline.corpora.synthetic import make_synthetic
from pipeline.corpora.table import load_table, save_table
from pipeline.training.compare import compare

SCHEMAS = [
    About,
    EncoderAbout,
    FaceNetAbout,
    Fingerprints,
    History,
    Metrics,
    Settings,
    UpdateAbout,
]
WRONG = ["", "{", "3", "null", "[]", '"x"', "[" * 100_000, '{"a": NaN}', '{"a": 1e999}']
WRONG += ['{"a": ' + "9" * 400 + "}", "\x00", "<html>"]


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
def test_other_json_is_refused(schema: type, text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(MercError, match=r"x\.json: ") as caught:
        read_json(path, schema)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("table.json", '{"labels": {"joy": 1}}'),
        ("table.json", '{"labels": ["joy", "joy"]}'),
        ("table.json", '{"labels": ["joy\\u001b[31m"]}'),
        ("table.json", '{"name": ["x"]}'),
        ("table.json", '{"notes": "x"}'),
        ("fingerprints.json", '{"text": 3, "audio": {}, "visual": {}}'),
        ("fingerprints.json", '{"text": {"options": []}, "audio": {}, "visual": {}}'),
    ],
)
def test_a_table_of_a_wrong_shape_is_refused(name: str, text: str, tmp_path: Path) -> None:
    save_table(make_synthetic(2, 1, 1), tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(MercError, match=name.replace(".", r"\.")):
        load_table(tmp_path)


@pytest.mark.parametrize("label", ["joy\x1b[31m", "a\u202ee", "x\x9b"])
def test_a_label_with_control_characters_is_refused(label: str, tmp_path: Path) -> None:
    corpus = make_synthetic(2, 1, 1)
    save_table(corpus, tmp_path)
    (tmp_path / "table.json").unlink()
    path = tmp_path / "utterances.csv"
    path.write_text(path.read_text("utf-8").replace(f",{corpus.labels[0]},", f",{label},"), "utf-8")
    with pytest.raises(MercError, match="control characters"):
        load_table(tmp_path)


def _zipped(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("text.npy", data)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:50],
        lambda data: data[:-7],
        lambda data: data.replace(b"'<f4'", b"'<O8'"),
        lambda data: data.replace(b"}", b"("),
        lambda data: data.replace(b"(", b"(10000000000, "),
        lambda data: data.replace(b"False", b"Fal(e"),
        lambda data: b"PK\x03\x04" + data,
        lambda data: b"",
        _zipped,
        lambda data: _zipped(data)[:-30],
    ],
)
def test_damaged_and_zipped_arrays_are_refused(change, tmp_path: Path) -> None:
    save_table(make_synthetic(2, 1, 1), tmp_path)
    path = tmp_path / "text.npy"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(MercError, match=r"text\.npy"):
        load_table(tmp_path)
    np.save(path, np.zeros((10**4, 0)))
    with pytest.raises(MercError, match=r"text\.npy"):
        load_table(tmp_path)


@pytest.mark.parametrize("text", ["[]", "3", "{", '{"identity": 3}', ""])
def test_a_run_of_a_wrong_shape_is_refused(text: str, tmp_path: Path) -> None:
    for name in ("metrics.json", ".work/settings.json"):
        out = tmp_path / name.partition(".")[0] / "run"
        (out / name).parent.mkdir(parents=True)
        (out / name).write_text(text)
        with pytest.raises(MercError, match="json"):
            find_run(out, "x")
    with pytest.raises(MercError, match="no finished run"):
        compare(tmp_path / "metrics" / "run", tmp_path / "metrics" / "run")
