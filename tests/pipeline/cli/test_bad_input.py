"""Malformed input, as typed: exit code 2, and one plain sentence that names it."""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.cli.comparison import show_comparison
from pipeline.corpora.synthetic import make_synthetic
from pipeline.corpora.table import save_table

SYNTHETIC = ("train", "--dataset", "synthetic", "--out", "run", "--set")
TRAIN = ("train", "--dataset", "table", "--out", "run")
COMPARE = ("compare", "run", "run")


def write(name: str, text: str) -> Callable[[], None]:
    def change() -> None:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return change


def edit(name: str, change: Callable[[bytes], bytes]) -> Callable[[], None]:
    return lambda: (path := Path(name)).write_bytes(change(path.read_bytes()))


def zipped(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("text.npy", data)
    return buffer.getvalue()


def endless() -> None:
    path = Path("table/utterances.csv")
    head, *rows = path.read_text("utf-8").splitlines()
    path.write_text("\n".join([f"{head},start,end", *(f"{row},0,inf" for row in rows)]), "utf-8")


def checkpoint(header: object) -> Callable[[], None]:
    """A model file whose header holds this instead of merc's description of the model."""

    def change() -> None:
        text = json.dumps({"__metadata__": {"merc": json.dumps(header)}}).encode()
        Path("model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)

    return change


def nothing() -> None: ...


CASES = [
    (nothing, (*SYNTHETIC, "train.epochs=abc"), "'abc' is not a whole number"),
    (nothing, (*SYNTHETIC, "train.lr=fast"), "'fast' is not a number"),
    (nothing, (*SYNTHETIC, "model.d="), "nothing is not a whole number"),
    (nothing, (*SYNTHETIC, "train.epochs=[1,1"), "not YAML"),
    (nothing, ("compare", "nowhere", "nowhere"), "no such folder"),
    (nothing, ("compare", "table", "table"), "it has no metrics.json"),
    (nothing, ("store", "ls", "table"), "not a store"),
    (nothing, ("store", "verify", "table"), "not a store"),
    (nothing, ("store", "export", "table"), "not a store"),
    (nothing, ("label", "x.wav", "--device", "cuda:x"), "merc knows cpu, cuda and cuda:N"),
    (nothing, ("label", "--follow", "x.wav", "y.wav"), "--follow: 2 recordings"),
    (nothing, ("label", "--follow", "x.wav", "--report"), "--report needs the whole recording"),
    (nothing, ("label", "--follow", "x.wav", "--out", "y"), "--out needs the whole recording"),
    (nothing, ("label", "--follow", "y.wav"), "y.wav: no such file"),
    (nothing, ("label", "--follow", "."), "not a file but a folder"),
    (write("run/metrics.json", "[]"), COMPARE, "not a JSON object"),
    (write("run/metrics.json", "{"), COMPARE, "not JSON"),
    (write("run/metrics.json", '{"labels": 3}'), COMPARE, "labels"),
    (write("run/.work/settings.json", "[]"), TRAIN, "settings.json"),
    (write("table/table.json", '{"labels": 3}'), TRAIN, "labels"),
    (write("table/table.json", "nothing"), TRAIN, "not JSON"),
    (write("table/fingerprints.json", '{"text": 3}'), TRAIN, "fingerprints.json"),
    (edit("table/text.npy", zipped), TRAIN, "text.npy"),
    (edit("table/text.npy", lambda data: data[:-7]), TRAIN, "text.npy"),
    (edit("table/text.npy", lambda data: b""), TRAIN, "text.npy"),
    (endless, TRAIN, "row 1: end is 'inf'"),
    (checkpoint([]), ("evaluate", "model.safetensors", "--dataset", "table"), "model.safetensors"),
    (checkpoint({"config": 3}), ("label", "x.wav", "--model", "model.safetensors"), "usable"),
]


@pytest.mark.parametrize(("change", "arguments", "message"), CASES)
def test_malformed_input(
    change: Callable[[], None],
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    save_table(make_synthetic(2, 1, 1), Path("table"))
    Path("x.wav").write_bytes(b"RIFF")
    change()
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("merc: ") and message in result.stderr
    for raw in ("Traceback", "[Errno", "Error:", "of type '"):
        assert raw not in result.stderr


@pytest.mark.parametrize("command", ["label", "extract"])
def test_a_folder_that_cannot_be_written_is_named(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.wav").write_bytes(b"RIFF")
    Path("file").touch()
    for out in ("file/results", "n" * 300):
        result = CliRunner().invoke(app, [command, "x.wav", "--out", out])
        assert result.exit_code == 2
        assert out in result.stderr and "name another folder with --out" in result.stderr
        assert "Errno" not in result.stderr and "merc doctor" not in result.stderr


def test_one_seed_has_no_spread_and_the_better_run_is_named() -> None:
    def run(name: str, mean: float) -> dict[str, object]:
        figures = {"mean": mean, "sd": 0.0, "interval": (0.4, 0.6)}
        return {"run": name, "protocol": "clean", "seeds": 1, **figures}

    result = {"first": run("a", 0.5), "second": run("b", 0.52), "difference": -0.02}
    result |= {"p": 0.01, "draws": 100, "better": "second", "seeds": 1}
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        show_comparison(result)
    assert "weighted F1" in text.getvalue() and "±" not in text.getvalue()
    assert "a: 0.5000 (1 seed, " in text.getvalue()
    assert "b is better than a by 0.0200 (p 0.0100" in text.getvalue()
