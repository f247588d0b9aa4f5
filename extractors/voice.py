"""Voice vectors: 192 numbers that are similar for one person, whatever the words and the emotion.

The network is CAM++ (Wang et al. 2023, Interspeech, "CAM++: A fast and efficient network for
speaker verification using context-aware masking"), trained on 200,000 speakers (3D-Speaker,
Apache-2.0): 80 mel energies of 25 ms windows every 10 ms, a small residual network over time and
frequency, three densely connected blocks over time, whose layers are masked by what surrounds them,
mean and deviation over time, a linear layer.

The vectors are then projected so that one speaker varies equally in every direction over acted
emotions, rooms and distances, and speakers vary independently, by `between` (linear discriminant
analysis, all directions kept). This is the two-covariance model that compares voices (Brümmer and
de Villiers 2010). `pipeline.recipes.voice_network` has the layers, `pipeline.recipes.voice_encoder`
fits the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np

from extractors.mels import kaldi_mels
from extractors.weight_files import read_weights
from pipeline.core.errors import MercError
from pipeline.core.graphs import Graph
from pipeline.core.weights import check_weights

__all__ = ["DIM", "MIN_DURATION", "WEIGHTS", "VoiceEncoder", "load_voice", "voice_mels", "voiced"]

WEIGHTS = Path(__file__).parent / "weights" / "voice.safetensors"
GRAPH = Path(__file__).parent / "graphs" / "voice.onnx"
DIM = 192
MIN_DURATION = 0.1  # s of sound; a shorter one holds too little voice to compare
_RATE = 16_000
_SHORTEST = 8_000  # samples; shorter sounds are repeated
_PAUSE = 20.0  # dB below the loud parts of a sound: pauses, where only the room is audible
_FRAME = 480  # samples, 30 ms


class VoiceEncoder:
    """Map sounds to vectors.

    arrays: the weights of the network, and the model of speakers: mean (192,), projection
        (192, 192) and between (192,).
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        weights = dict(arrays)
        self.mean, self.projection, self.between = (
            weights.pop(name) for name in ("mean", "projection", "between")
        )
        self._graph = Graph(GRAPH, weights)

    def raw(self, sounds: list[np.ndarray]) -> np.ndarray:
        """Return the vectors before the projection, (len(sounds), 192), each of length 1.

        sounds: (n,) float32 mono samples at 16 kHz.

        Raises MercError for a sound under 100 ms.
        """
        vectors = np.zeros((len(sounds), DIM), np.float32)
        for index, sound in enumerate(sounds):
            if len(sound) < MIN_DURATION * _RATE:
                raise MercError(
                    f"sound {index} has {len(sound)} samples at 16 kHz",
                    f"pass at least {MIN_DURATION * 1000:.0f} ms",
                )
            vectors[index] = self._graph(mels=voice_mels(voiced(sound))[None])[0][0]
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)

    def vectors(self, sounds: list[np.ndarray]) -> np.ndarray:
        """Return projected vectors, (len(sounds), 192). Arguments and errors as for `raw`."""
        return (self.raw(sounds) - self.mean) @ self.projection


def voiced(sound: np.ndarray) -> np.ndarray:
    """Remove the pauses of a sound (n,), except 30 ms around its loud parts.

    Returns the sound unchanged if less than 300 ms would remain.
    """
    count = len(sound) // _FRAME
    if count < 4:
        return sound
    frames = sound[: count * _FRAME].reshape(count, _FRAME)
    level = 10 * np.log10(np.square(frames).mean(1) + 1e-10)
    loud = np.convolve(level > np.quantile(level, 0.95) - _PAUSE, np.ones(3), "same") > 0
    return frames[loud].ravel() if loud.sum() >= 10 else sound


def voice_mels(sound: np.ndarray) -> np.ndarray:
    """Return (frames, 80) logarithmic mel energies of a sound (n,) at 16 kHz; their mean is 0.

    Kaldi's, without dither. A sound under half a second is repeated.
    """
    sound = np.tile(sound, -(-_SHORTEST // len(sound))) if len(sound) < _SHORTEST else sound
    mels = kaldi_mels(sound)
    return mels - mels.mean(0)


@cache
def load_voice(path: Path = WEIGHTS) -> VoiceEncoder:
    """Load a voice encoder; by default the one that ships with merc."""
    if path == WEIGHTS:
        check_weights("voice encoder", path)
    return VoiceEncoder(read_weights(path))
