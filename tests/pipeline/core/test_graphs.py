"""Graphs compute what the networks of torch compute, and take only their weights."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
import torch

from extractors import talking, voice
from extractors.weight_files import read_weights
from pipeline.core.graphs import Graph
from pipeline.recipes.graphs import NETWORKS
from pipeline.recipes.talking import TalkingLayers
from pipeline.recipes.voice_network import VoiceLayers

SPEAKERS = ("mean", "projection", "between")  # of the voice encoder, not in its network


def network(layers: torch.nn.Module, weights: dict[str, np.ndarray]) -> torch.nn.Module:
    tensors = {name: torch.from_numpy(value) for name, value in weights.items()}
    layers.load_state_dict({k: v for k, v in tensors.items() if k not in SPEAKERS})
    return layers.eval()


@pytest.mark.parametrize("count", [1, 3, 4])
def test_talking(count: int) -> None:
    samples = 0.1 * np.random.default_rng(count).standard_normal((count, 160_000), np.float32)
    layers = network(TalkingLayers(), read_weights(talking.WEIGHTS))
    with torch.inference_mode():
        expected = layers(torch.from_numpy(samples)).numpy()
    np.testing.assert_allclose(talking.load_talking()(samples), expected, atol=1e-5)


@pytest.mark.parametrize("frames", [48, 49, 99, 100, 101, 313, 2998])
def test_voices(frames: int) -> None:
    mels = np.random.default_rng(frames).standard_normal((1, frames, 80), np.float32)
    layers = network(VoiceLayers(), read_weights(voice.WEIGHTS))
    with torch.inference_mode():
        expected = layers(torch.from_numpy(mels)).numpy()
    actual = voice.load_voice()._graph(mels=mels)[0]
    np.testing.assert_allclose(actual, expected, atol=1e-5 * np.abs(expected).max())


def test_other_weights_are_refused() -> None:
    weights = read_weights(talking.WEIGHTS)
    name = "classifier.bias"
    for other in (
        {k: v for k, v in weights.items() if k != name},
        weights | {name: weights[name][:3]},
        weights | {"more": np.zeros(3)},
    ):
        with pytest.raises(ValueError, match="weights of another network"):
            Graph(talking.GRAPH, other)


def test_calls_on_threads_give_the_same_bits() -> None:
    samples = np.random.default_rng(0).standard_normal((6, 160_000), np.float32)
    network = talking.load_talking()
    alone = [network(row[None]).tobytes() for row in samples]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda row: network(row[None]).tobytes(), samples)) == alone


@pytest.mark.parametrize("path", NETWORKS, ids=lambda path: path.stem)
def test_graphs_hold_no_weights_and_no_paths(path) -> None:
    assert path.stat().st_size < 200_000
    assert b"site-packages" not in path.read_bytes() and b".py" not in path.read_bytes()
    model = onnx.load(path, load_external_data=False)
    constants = [v for v in model.graph.initializer if v.data_location != onnx.TensorProto.EXTERNAL]
    floats = [v for v in constants if v.data_type == onnx.TensorProto.FLOAT]
    assert all(np.prod(value.dims) <= 64 for value in floats)
