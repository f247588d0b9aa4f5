"""How likely it is that two people speak at once in an utterance, from Whisper's encoder.

Logistic regression on the statistics of the states of its last layer (`extractors.speech`).
`pipeline/recipes/overlap.py` makes its weights; docs/speakers.md has the figures.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

__all__ = ["LIKELY", "WEIGHTS", "overlap_probability"]

WEIGHTS = Path(__file__).parent / "weights" / "overlap.safetensors"
LIKELY = 0.9  # probability from which merc warns


def overlap_probability(features: np.ndarray) -> float:
    """Return the probability that two people speak at once for 0.2 s or more.

    features: (768,) of the utterance, from `SpeechExtractor(layers=4)`.

    >>> import numpy as np
    >>> 0 <= overlap_probability(np.zeros(768, np.float32)) <= 1
    True
    """
    weight, bias = _weights()
    logit = float(weight.astype(np.float64) @ features.astype(np.float64)) + bias
    return float(1 / (1 + np.exp(-np.clip(logit, -30, 30))))


@cache
def _weights() -> tuple[np.ndarray, float]:
    from safetensors.numpy import load_file

    arrays = load_file(WEIGHTS)
    return arrays["weight"], arrays["bias"].item()
