"""The encoder without its decoder, or its first layer, computes what it should."""

from __future__ import annotations

import struct
from pathlib import Path

import ctranslate2
import numpy as np
import pytest
import torch
from torch.nn.functional import conv1d, gelu, layer_norm, linear, scaled_dot_product_attention

from extractors.speech import encoder_folder
from extractors.whisper_encoder import load_encoder

OPTIONS = {"device": "cpu", "compute_type": "float32", "intra_threads": 1}


def test_states_equal_those_of_the_whole_model():
    whole = ctranslate2.models.Whisper(str(encoder_folder()), **OPTIONS)
    encoder = load_encoder(encoder_folder(), **OPTIONS)
    random = np.random.default_rng(0)
    for columns in (10, 400, 3000):
        mel = random.normal(size=(1, 80, columns)).astype(np.float32)
        expected, actual = (
            np.array(model.encode(ctranslate2.StorageView.from_array(mel)))
            for model in (whole, encoder)
        )
        assert np.array_equal(actual, expected)


def read_variables(path: Path) -> dict[str, torch.Tensor]:
    """Read the encoder's weights from CTranslate2's file: int8 with a scale per row, or floats."""
    variables = {}
    with open(path, "rb") as file:

        def text() -> str:
            return file.read(struct.unpack("H", file.read(2))[0])[:-1].decode()

        file.read(4)
        text()
        file.read(4)
        for _ in range(*struct.unpack("I", file.read(4))):
            name = text()
            rank = file.read(1)[0]
            shape = struct.unpack(f"{rank}I", file.read(4 * rank))
            kind = {0: np.float32, 1: np.int8, 2: np.int16, 4: np.float16}.get(
                file.read(1)[0], np.int32
            )
            values = np.frombuffer(file.read(*struct.unpack("I", file.read(4))), kind)
            if name.startswith("encoder/"):
                variables[name.removeprefix("encoder/")] = values.reshape(shape).astype(np.float32)
    for name in [name for name in variables if name.endswith("_scale")]:
        weight = variables[name.removesuffix("_scale")]
        weight /= variables[name].reshape(-1, *[1] * (weight.ndim - 1))
    return {name: torch.from_numpy(values) for name, values in variables.items()}


def first_layer(mel: np.ndarray) -> torch.Tensor:
    """Compute the states (n, 384) after the first layer (Radford et al. 2023) with torch."""
    w = read_variables(encoder_folder() / "model.bin")

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return layer_norm(x, (384,), w[f"{name}/gamma"], w[f"{name}/beta"])

    def apply(x: torch.Tensor, name: str) -> torch.Tensor:
        return linear(x, w[f"layer_0/{name}/weight"], w[f"layer_0/{name}/bias"])

    x = gelu(conv1d(torch.from_numpy(mel), w["conv1/weight"], w["conv1/bias"], padding=1))
    x = gelu(conv1d(x, w["conv2/weight"], w["conv2/bias"], stride=2, padding=1))[0].T
    x = x + w["position_encodings/encodings"][: len(x)]
    heads = apply(norm(x, "layer_0/self_attention/layer_norm"), "self_attention/linear_0")
    query, key, value = heads.view(len(x), 3, 6, 64).permute(1, 2, 0, 3)
    seen = scaled_dot_product_attention(query, key, value).transpose(0, 1).reshape(len(x), 384)
    x = x + apply(seen, "self_attention/linear_1")
    inner = gelu(apply(norm(x, "layer_0/ffn/layer_norm"), "ffn/linear_0"))
    return norm(x + apply(inner, "ffn/linear_1"), "layer_norm")


def test_the_first_layer_equals_one_written_in_torch():
    encoder = load_encoder(encoder_folder(), 1, **OPTIONS)
    mel = np.random.default_rng(1).normal(size=(1, 80, 200)).astype(np.float32)
    states = np.array(encoder.encode(ctranslate2.StorageView.from_array(mel)))[0]
    np.testing.assert_allclose(states, first_layer(mel), atol=1e-3)


def test_another_format_is_refused(tmp_path: Path):
    for name in ("config.json", "vocabulary.txt"):
        (tmp_path / name).write_bytes((encoder_folder() / name).read_bytes())
    (tmp_path / "model.bin").write_bytes(bytes(100))
    with pytest.raises(ValueError, match="format"):
        load_encoder(tmp_path, **OPTIONS)
