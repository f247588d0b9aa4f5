"""Networks as ONNX graphs without weights, run by ONNX Runtime.

Labelling does without torch, whose import takes two CPU seconds and 450 MB. A graph holds the
layers of a network only. Its weights are those of a safetensors file, by the names that they have
in torch. `pipeline.recipes.graphs` makes the graphs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

__all__ = ["Graph"]


class Graph:
    """A network that maps arrays to arrays. Any number of threads may call it.

    path: of the ONNX file. weights: by name, each float32.

    A call takes one thread, so that no value depends on the number of threads.

    Raises ValueError if the weights are not those of this network.
    """

    def __init__(self, path: Path, weights: Mapping[str, np.ndarray]) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # errors are raised
        options.enable_cpu_mem_arena = False  # which would keep the memory of the largest input
        values = map(onnxruntime.OrtValue.ortvalue_from_numpy, map(_contiguous, weights.values()))
        options.add_external_initializers(list(weights), list(values))
        try:
            self._session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's exceptions have no type in common
            raise ValueError(f"weights of another network: {error}") from error

    def __call__(self, **inputs: np.ndarray) -> list[np.ndarray]:
        """Return the outputs for inputs by name."""
        outputs: list[np.ndarray] = self._session.run(None, inputs)
        return outputs


def _contiguous(value: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(value, np.float32)
