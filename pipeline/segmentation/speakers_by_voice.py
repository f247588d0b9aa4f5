"""Find who speaks by voice: cluster the voice vectors of a recording's utterances. Approximate.

`extractors.voice` describes a voice, `voice_clusters` forms the clusters.
"""

from __future__ import annotations

import numpy as np
import torch

from extractors import voice
from extractors.voice import load_voice
from pipeline.core.dialogue import Utterance
from pipeline.media.decode import RATE, Media
from pipeline.segmentation.voice_clusters import cluster_voices

__all__ = [
    "VOICE_METHOD",
    "SHORTEST",
    "assign_speakers",
    "renumber",
    "voice_changes",
    "voice_vectors",
]

VOICE_METHOD = {
    "method": "voice-encoder",
    "version": 4,
    "approximate": True,
}  # part of fingerprints
SHORTEST = 1.0  # s; shorter utterances say too little to trust their voice
MAX_SECONDS = 30.0  # s of one utterance that are used
HOP = 0.01  # s between frames of cepstra
MIN_SIDE = 0.5  # s of loud frames needed on each side of a change of voice
CHANGE_PENALTY = 2.5  # weight of the Bayesian information criterion's penalty
_BATCH = 32  # utterances in memory at once


def voice_vectors(media: Media, utterances: list[Utterance]) -> tuple[np.ndarray, np.ndarray]:
    """Compute the voice vectors (n, 256) of utterances and the seconds (n,) they are based on.

    An utterance with less than 100 ms of sound has a row of NaN.
    """
    vectors = np.full((len(utterances), voice.DIM), np.nan)
    seconds = np.array([min(u.end - u.start, MAX_SECONDS) for u in utterances])
    encoder = load_voice()
    for first in range(0, len(utterances), _BATCH):
        rows: list[int] = []
        sounds: list[np.ndarray] = []
        for k in range(first, min(first + _BATCH, len(utterances))):
            start = utterances[k].start
            sound = media.sound(start, start + seconds[k])
            if len(sound) >= voice.MIN_DURATION * RATE:
                rows.append(k)
                sounds.append(sound)
        if rows:
            vectors[rows] = encoder.vectors(sounds)
    return vectors, seconds


def assign_speakers(
    vectors: np.ndarray, seconds: np.ndarray, count: int | None = None
) -> list[int]:
    """Cluster voice vectors (n, 256), in order of time, into speakers by first appearance.

    seconds: (n,), how long each utterance is. count: the number of speakers, if known. The speaker
    of a row of NaN is -1.
    """
    labels = np.full(len(vectors), -1)
    audible = np.flatnonzero(np.isfinite(vectors).all(1)) if len(vectors) else np.zeros(0, int)
    if len(audible):
        between = load_voice().between.numpy()
        labels[audible] = cluster_voices(vectors[audible], between, seconds[audible], count)
    return renumber(labels.tolist())


def renumber(labels: list[int]) -> list[int]:
    """Number labels by first appearance; negative ones become -1.

    >>> renumber([7, 7, -1, 2, 7])
    [0, 0, -1, 1, 0]
    """
    numbers: dict[int, int] = {}
    return [-1 if label < 0 else numbers.setdefault(label, len(numbers)) for label in labels]


def voice_changes(media: Media, start: float, gap: float, end: float) -> bool:
    """Whether another voice begins at `gap`, with speech from `start` to `end` (seconds).

    Compares one Gaussian over the cepstra of both sides with two Gaussians, by the Bayesian
    information criterion (Chen and Gopalakrishnan 1998). False if either side is too short.
    """
    left, right = _cepstra(media, start, gap), _cepstra(media, gap, end)
    if min(len(left), len(right)) * HOP < MIN_SIDE:
        return False
    return _differ(left, right)


def _cepstra(media: Media, start: float, end: float) -> np.ndarray:
    """(n, 20) float32 cepstra of the louder frames; n = 0 for less than 50 ms of sound."""
    from torchaudio.compliance.kaldi import mfcc

    sound = media.sound(start, min(end, start + MAX_SECONDS))
    if len(sound) < 0.05 * RATE:
        return np.zeros((0, 20), np.float32)
    cepstra = mfcc(
        torch.from_numpy(sound)[None] * 32768,
        num_ceps=21,
        num_mel_bins=40,
        dither=0.0,
        sample_frequency=RATE,
    ).numpy()
    energy = cepstra[:, 0]
    return cepstra[energy >= np.quantile(energy, 0.3), 1:]


def _differ(left: np.ndarray, right: np.ndarray) -> bool:
    """Whether frames are of two voices; False unless both sides last `SHORTEST` seconds."""
    if min(len(left), len(right)) < SHORTEST / HOP:
        return False
    return _information_gain(left, right, CHANGE_PENALTY) > 0


def _information_gain(a: np.ndarray, b: np.ndarray, penalty: float) -> float:
    """Information gained by two Gaussians over one; above 0, there are two voices."""
    d, n = a.shape[1], len(a) + len(b)
    parameters = d + d * (d + 1) / 2
    together = n * _log_volume(np.concatenate([a, b]))
    gain = 0.5 * (together - len(a) * _log_volume(a) - len(b) * _log_volume(b))
    return gain - penalty * 0.5 * parameters * np.log(n)


def _log_volume(frames: np.ndarray) -> float:
    """Log determinant of the covariance of frames."""
    return float(np.linalg.slogdet(np.cov(frames.T) + 1e-3 * np.eye(frames.shape[1]))[1])
