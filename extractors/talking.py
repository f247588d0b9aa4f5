"""Hear which of up to three people speak, every 17 ms, in ten seconds of sound.

The network is pyannote/segmentation-3.0 (Bredin and Laurent 2021, "End-to-end speaker segmentation
for overlap-aware resegmentation"; Plaquet and Bredin 2023, "Powerset multi-class cross entropy loss
for neural speaker diarization"): filters over the samples, three pooled convolutions, four
bidirectional LSTM layers, two linear layers, and one class for each set of up to two of three
speakers. The order of the speakers means nothing and is kept within one sound only.

`pipeline.recipes.talking` has the layers and converts the published weights.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from extractors.weight_files import read_weights
from pipeline.core.graphs import Graph
from pipeline.core.weights import check_weights

__all__ = ["CENTRE", "HOP", "SECONDS", "WEIGHTS", "TalkingNetwork", "load_talking"]

WEIGHTS = Path(__file__).parent / "weights" / "talking.safetensors"
GRAPH = Path(__file__).parent / "graphs" / "talking.onnx"
SECONDS = 10.0  # of sound that the network was trained on
HOP = 270  # samples at 16 kHz from one frame of the output to the next
CENTRE = 495  # samples from the start of the sound to the middle of what the first frame hears


class TalkingNetwork:
    """Map samples (n, 160000) float32 at 16 kHz to probabilities (n, frames, 4) float32.

    The first three are those that each speaker speaks; the last, that two speak at once.
    """

    def __init__(self, path: Path) -> None:
        self._graph = Graph(GRAPH, read_weights(path))

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        return self._graph(samples=samples)[0]


@cache
def load_talking(path: Path = WEIGHTS) -> TalkingNetwork:
    """Load the network; by default with the weights that ship with merc."""
    if path == WEIGHTS:
        check_weights("talking network", path)
    return TalkingNetwork(path)
