"""The model that ships, as an ONNX graph: labelling needs no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import css_model
from css_model.rows import feature_rows, numbers_of_speakers
from css_model.stored import Checkpoint
from pipeline.core.dialogue import Dialogue
from pipeline.core.graphs import Graph

__all__ = ["GRAPH", "GraphModel"]

GRAPH = Path(css_model.__file__).parent / "graphs" / "merc-offline.onnx"


class GraphModel:
    """CSS with the dimensions of merc-offline. It reads one dialogue at a time.

    Raises ValueError for weights of other dimensions.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.config = checkpoint.config
        self._speaker_rows: str = getattr(self.config, "speaker_rows", "appearance")
        self._parameters = sum(values.size for values in checkpoint.state.values())
        # the unimodal heads serve the objectives of training
        weights = {k: v for k, v in checkpoint.state.items() if not k.startswith("heads.")}
        self._graph = Graph(GRAPH, weights)

    def parameter_count(self) -> int:
        """Return the number of parameters."""
        return self._parameters

    def logits(self, dialogue: Dialogue) -> np.ndarray:
        """Return the (n, classes) float64 logits of a prepared dialogue.

        Raises ValueError as `css_model.collate` does.
        """
        if not dialogue.speakers:
            return np.zeros((0, len(self.config.labels)))
        inputs = {"speakers": numbers_of_speakers([dialogue], self._speaker_rows)}
        for name, width in self.config.widths:
            inputs[name], inputs[f"{name}_present"] = feature_rows([dialogue], name, width)
        return self._graph(**inputs)[0].astype(np.float64)
