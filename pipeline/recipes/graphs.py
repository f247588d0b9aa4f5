"""Write the networks that label as ONNX graphs without weights, which `pipeline.core.graphs` runs.

    python -m pipeline.recipes.graphs

Nothing is trained. A graph depends on the layers of a network alone: new weights of the same shapes
need no new graph. Needs onnxscript.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import onnx
import onnxscript.optimizer
import torch
from torch import Tensor, nn
from torch.export import Dim
from transformers import BertModel

from extractors import face_network, minilm, talking, voice
from extractors.densenet import FaceNet, FaceNetConfig
from extractors.encoders import find_folder
from extractors.pretrained import load_model, read_checkpoint
from pipeline.recipes.model_graph import model_graph
from pipeline.recipes.talking import TalkingLayers
from pipeline.recipes.voice_network import VoiceLayers
from pipeline.training import graph_model

__all__ = ["NETWORKS", "write_graph"]

LARGEST_CONSTANT = 64  # values; a larger one would be a weight that the graph holds itself
Shapes = dict[str, dict[Any, Any]]
Network = tuple[nn.Module, dict[str, Tensor], Shapes]


def write_graph(network: nn.Module, inputs: dict[str, Tensor], free: Shapes, path: Path) -> None:
    """Write the graph of a network in evaluation mode.

    inputs: the arguments of its `forward` by name. free: their dimensions that may differ, as
    `torch.export` takes them.

    Raises ValueError if the graph would hold weights.
    """
    program = torch.onnx.export(
        network.eval(), kwargs=inputs, dynamic_shapes=free, dynamo=True, optimize=False
    )
    assert program is not None
    model = _without_weights(program.model_proto, set(network.state_dict()))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _without_weights(model: onnx.ModelProto, names: set[str]) -> onnx.ModelProto:
    """Replace the weights by references, and remove what describes the code, with its paths."""
    weights, inputs = [], list(model.graph.input)
    for value in list(model.graph.initializer):
        if value.name in names:
            model.graph.initializer.remove(value)
            # as an input it is not computed with, so that no constant is made of it
            model.graph.input.append(
                onnx.helper.make_tensor_value_info(value.name, value.data_type, value.dims)
            )
            weight = onnx.TensorProto(
                name=value.name,
                dims=value.dims,
                data_type=value.data_type,
                data_location="EXTERNAL",
            )
            weight.external_data.add(key="location", value="weights")
            weights.append(weight)
    model = onnxscript.optimizer.optimize(model)
    for value in model.graph.initializer:
        if value.data_type == onnx.TensorProto.FLOAT and prod(value.dims) > LARGEST_CONSTANT:
            raise ValueError(f"the constant {value.name} has {list(value.dims)} values")
    del model.graph.input[len(inputs) :]
    model.graph.initializer.extend(weights)
    model.graph.ClearField("value_info")
    model.ClearField("metadata_props")
    graph = model.graph
    for part in (graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return model


class _FaceFeatures(FaceNet):
    """The face network without its last layer."""

    def __init__(self) -> None:
        super().__init__(FaceNetConfig())
        self.net.classifier = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        return self.features(images)


class _LastStates(BertModel):
    """The states of the last four layers of BERT."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        states = [self.embeddings(input_ids=input_ids)]
        hidden = torch.where(attention_mask[:, None, None] > 0, 0.0, -1e9)
        for layer in self.encoder.layer:
            states.append(layer(states[-1], hidden))
        return tuple(states[-4:])


def _talking() -> Network:
    return TalkingLayers(), {"samples": torch.randn(4, 160_000)}, {"samples": {0: Dim("n", max=64)}}


def _voice() -> Network:
    mels = {"mels": torch.randn(1, 313, 80)}
    return VoiceLayers(), mels, {"mels": {1: Dim("frames", min=48, max=6000)}}


def _face() -> Network:
    images = {"images": torch.randn(2, 1, 64, 64)}
    free = {0: Dim("n", max=64), 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}  # a network may take other sizes
    return _FaceFeatures(), images, {"images": free}


def _minilm() -> Network:
    folder, _ = find_folder("minilm")
    encoder = load_model(folder, read_checkpoint(folder)[0])
    encoder.set_attn_implementation("eager")
    encoder.__class__ = _LastStates
    shape = {0: Dim("n", max=1024), 1: Dim("tokens", max=512)}
    inputs = {name: torch.ones(2, 9, dtype=torch.long) for name in ("input_ids", "attention_mask")}
    return encoder, inputs, dict.fromkeys(inputs, shape)


NETWORKS: dict[Path, Callable[[], Network]] = {
    talking.GRAPH: _talking,
    voice.GRAPH: _voice,
    face_network.GRAPH: _face,
    minilm.GRAPH: _minilm,
    graph_model.GRAPH: model_graph,
}


if __name__ == "__main__":
    for path, build in NETWORKS.items():
        write_graph(*build(), path)
