"""Checkpoints: a model is read back as it was written, and forged files are refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from css_model import CSS, Checkpoint, Normaliser, collate, load_checkpoint, save_checkpoint
from css_model.stored import read_checkpoint


@pytest.fixture
def checkpoint(config, dialogue) -> Checkpoint:
    directions = {"audio": np.random.default_rng(0).standard_normal((2, 20))}
    normaliser = Normaliser({"audio": "speaker"}, directions=directions).fit([dialogue(1, 20)])
    return Checkpoint(
        config(),
        CSS(config()).state_dict(),
        normaliser,
        {"text": {"extractor": "x", "weights": None}},
        np.log(np.array([0.1, 0.2, 0.3, 0.4])),
        {"text": 1.5, "text+audio+visual": 0.8},
        {"seed": 3},
    )


def test_round_trip(checkpoint: Checkpoint, tmp_path: Path, dialogue) -> None:
    path = tmp_path / "new folder" / "model.safetensors"
    save_checkpoint(path, checkpoint)
    loaded = load_checkpoint(path)
    batch = collate([dialogue(5, 12)])
    assert torch.equal(loaded.model()(batch).logits, checkpoint.model()(batch).logits)
    assert loaded.config == checkpoint.config and loaded.extra == {"seed": 3}
    assert loaded.fingerprints == checkpoint.fingerprints
    assert loaded.temperatures == checkpoint.temperatures
    assert np.allclose(loaded.log_prior, checkpoint.log_prior)
    one = dialogue(6, 9)
    standardised = loaded.normaliser.apply(one.features, one.speakers)
    for name, rows in checkpoint.normaliser.apply(one.features, one.speakers).items():
        assert np.array_equal(standardised[name], rows, equal_nan=True)
    trained = loaded.model().train()
    with torch.no_grad():
        trained.classifier.weight.zero_()
    assert loaded.state["classifier.weight"].any()  # training does not change the checkpoint


def test_same_model_same_bytes_in_one_metadata_entry(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    for name in "ab":
        save_checkpoint(tmp_path / name, checkpoint)
    data = (tmp_path / "a").read_bytes()
    assert data == (tmp_path / "b").read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert list(header["__metadata__"]) == ["merc"]
    text = header["__metadata__"]["merc"]
    assert text == json.dumps(json.loads(text), sort_keys=True, ensure_ascii=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_half_precision_halves_the_size(checkpoint: Checkpoint, tmp_path: Path, dialogue) -> None:
    checkpoint.normaliser.mean["audio"][0] = 1e6  # exceeds float16, but must survive
    save_checkpoint(tmp_path / "full", checkpoint)
    save_checkpoint(tmp_path / "half", checkpoint, half=True)
    assert (tmp_path / "half").stat().st_size < 0.65 * (tmp_path / "full").stat().st_size
    loaded = load_checkpoint(tmp_path / "half")
    assert loaded.normaliser.mean["audio"][0] == 1e6
    batch = collate([dialogue(5, 12)])
    assert torch.allclose(loaded.model()(batch).logits, checkpoint.model()(batch).logits, atol=0.02)


def forge(path: Path, **changes) -> None:
    """Rewrite the header's JSON."""
    tensors = load_file(path)
    raw = path.read_bytes()
    outer = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    header = json.loads(outer["__metadata__"]["merc"])
    for key, value in changes.items():
        *parents, last = key.split("__")
        inner = header
        for parent in parents:
            inner = inner[parent]
        inner[last] = value
    save_file(tensors, path, metadata={"merc": json.dumps(header)})


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 99},
        {"config": None},
        {"config__d": 10**9},
        {"config__d": 48},
        {"config__layers": 10**12},
        {"config__labels": ["a", "b"]},
        {"config__surprise": 1},
        {"config__order": 5},
        {"config__widths": 3},
        {"config__widths": [["text", 10**15]]},
        {"config__heads": "4"},
        {"temperatures": [1]},
        {"temperatures": {"text": -1}},
        {"temperatures": {"text": float("nan")}},
        {"normaliser": []},
        {"normaliser__method": "eval"},
        {"normaliser__pseudo": 0},
        {"extra": 3},
        {"fingerprints": "x"},
        {"fingerprints": {"text": 3}},
        {"fingerprints": {"text": {"options": [1]}}},
        {"fingerprints": {"smell": {"extractor": "x"}}},
        {"temperatures": {"smell": 1.0}},
        {"temperatures": {"text": 10**400}},
        {"temperatures": {"text": 1e-300}},
        {"normaliser__pseudo": 10**400},
        {"normaliser__inputs": {"text": 10**12}},
        {"config__labels": ["joy\x1b[31m", "b", "c"]},
        {"more": 1},
    ],
    ids=str,
)
def test_forged_headers_are_refused(checkpoint: Checkpoint, tmp_path: Path, changes: dict) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, checkpoint)
    forge(path, **changes)
    with pytest.raises(ValueError, match=r"model\.safetensors is not a usable model of merc"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 7,
        b"\xff" * 64,
        (2**62).to_bytes(8, "little") + b"{}",
        (10).to_bytes(8, "little") + b"{",
        (2).to_bytes(8, "little") + b"{}",
        b"<html>not a model at all</html>",
        (4).to_bytes(8, "little") + b"[[[[",
    ],
)
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"model\.safetensors is not a"):
        load_checkpoint(path)
    with pytest.raises(OSError):
        load_checkpoint(tmp_path / "missing")


def test_truncated_files_and_nan_weights_are_refused(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, checkpoint)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError):
        load_checkpoint(path)
    checkpoint.state["classifier.bias"][0] = float("nan")
    save_checkpoint(path, checkpoint)
    with pytest.raises(ValueError, match=r"classifier\.bias"):
        load_checkpoint(path)
    with pytest.raises(ValueError, match="half"):
        save_checkpoint(path, checkpoint, half=True)


def test_forged_directions_are_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """They are unit vectors at right angles, as wide as the features."""
    basis = checkpoint.normaliser.erased["audio"]
    for forged in (2 * basis, basis[:, :7], basis[0], basis[[0, 0]], np.eye(21, 20)):
        checkpoint.normaliser.erased["audio"] = forged
        save_checkpoint(tmp_path / "model.safetensors", checkpoint)
        with pytest.raises(ValueError, match="is not a usable model of merc"):
            load_checkpoint(tmp_path / "model.safetensors")


def test_a_deeply_nested_header_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, checkpoint)
    save_file(load_file(path), path, metadata={"merc": "[" * 100_000})
    with pytest.raises(ValueError):
        load_checkpoint(path)


def test_arrays_and_tensors_make_the_same_model(
    checkpoint: Checkpoint, tmp_path: Path, dialogue
) -> None:
    path = tmp_path / "model.safetensors"
    for half in (False, True):
        save_checkpoint(path, checkpoint, half)
        arrays, tensors = read_checkpoint(path), load_checkpoint(path)
        assert {value.dtype for value in arrays.state.values()} == {np.dtype(np.float32)}
        batch = collate([dialogue(5, 12)])
        assert torch.equal(arrays.model()(batch).logits, tensors.model()(batch).logits)
        save_checkpoint(tmp_path / "again", arrays, half)
        assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_tensors_of_another_type_are_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, checkpoint)
    for dtype in (torch.bfloat16, torch.float64, torch.int32):
        changed = load_file(path) | {"model.classifier.bias": torch.zeros(4, dtype=dtype)}
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        save_file(changed, tmp_path / "other", metadata=metadata)
        for read in (load_checkpoint, read_checkpoint):
            with pytest.raises(ValueError, match=r"classifier\.bias is not of finite float16"):
                read(tmp_path / "other")
