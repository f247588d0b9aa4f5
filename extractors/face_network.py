"""The face network for inference: grey faces in, features and emotions out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL.Image import Resampling, fromarray

from extractors.face_weights import DIM, EMOTIONS, read_face_weights, unusable_weights
from pipeline.core.graphs import Graph
from pipeline.core.softmax import softmax

__all__ = ["FaceNetwork"]

GRAPH = Path(__file__).parent / "graphs" / "face.onnx"


class FaceNetwork:
    """Compute what `densenet.FaceNet` computes in evaluation mode, to 1e-5, without torch.

    path: a file written by `merc pretrain visual`.

    Raises MercError if the file holds no such weights.
    """

    def __init__(self, path: Path) -> None:
        self.config, arrays = read_face_weights(path)
        try:
            # the last layer is apart: see `emotions`
            self._weight = arrays.pop("net.classifier.weight")
            self._bias = arrays.pop("net.classifier.bias")
            self._graph = Graph(GRAPH, arrays)
        except (KeyError, ValueError) as error:
            raise unusable_weights(path, error) from error
        if self._weight.shape != (len(EMOTIONS), DIM):
            raise unusable_weights(path, f"a classifier of shape {self._weight.shape}")

    def features(self, faces: np.ndarray) -> np.ndarray:
        """Return (n, 342) float32 features of (n, h, w) uint8 grey faces."""
        side = (self.config.size, self.config.size)
        # antialiased, as in training: `densenet.FaceNet.prepare`
        resized = [
            np.asarray(fromarray(face.astype(np.float32) / 255).resize(side, Resampling.BILINEAR))
            for face in faces
        ]
        images = (np.stack(resized)[:, None] - self.config.mean) / self.config.std
        # one at a time: what the network computes then fits into the cache of a core
        rows = [self._graph(images=image[None])[0] for image in images.astype(np.float32)]
        return np.concatenate(rows)

    def emotions(self, features: np.ndarray) -> np.ndarray:
        """Return (n, 8) probabilities, in FER+ order, of (n, 342) features."""
        return softmax(features @ self._weight.T + self._bias)
