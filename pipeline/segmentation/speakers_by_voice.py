"""Find who speaks by voice: cluster the voice vectors of a recording's utterances. Approximate.

`extractors.voice` describes a voice, `voice_clusters` forms the clusters.
"""

from __future__ import annotations

from concurrent.futures import Future

import numpy as np

from extractors import voice
from extractors.threads import side_by_side
from extractors.voice import load_voice
from pipeline.core.dialogue import Utterance
from pipeline.core.resources import threads_of_process
from pipeline.media.decode import RATE, Media
from pipeline.segmentation.voice_clusters import cluster_voices

__all__ = [
    "VOICE_METHOD",
    "SHORTEST",
    "assign_speakers",
    "renumber",
    "voice_vectors",
]

VOICE_METHOD = {
    "method": "voice-encoder",
    "version": 6,
    "approximate": True,
}  # part of fingerprints
SHORTEST = 1.0  # s; shorter utterances say too little to trust their voice
MAX_SECONDS = 30.0  # s of one utterance that are used
_BATCH = 32  # utterances in memory at once


def voice_vectors(media: Media, utterances: list[Utterance]) -> tuple[np.ndarray, np.ndarray]:
    """Compute the voice vectors (n, 192) of utterances and the seconds (n,) they are based on.

    An utterance with less than 100 ms of sound has a row of NaN.
    """
    vectors = np.full((len(utterances), voice.DIM), np.nan)
    seconds = np.array([min(u.end - u.start, MAX_SECONDS) for u in utterances])
    encoder = load_voice()
    with side_by_side(threads_of_process()) as pool:
        for first in range(0, len(utterances), _BATCH):
            found: dict[int, Future[np.ndarray]] = {}
            for k in range(first, min(first + _BATCH, len(utterances))):
                start = utterances[k].start
                sound = media.sound(start, start + seconds[k])
                if len(sound) >= voice.MIN_DURATION * RATE:
                    found[k] = pool.submit(encoder.vectors, [sound])
            for k, vector in found.items():
                vectors[k] = vector.result()[0]
    return vectors, seconds


def assign_speakers(
    vectors: np.ndarray, seconds: np.ndarray, count: int | None = None
) -> list[int]:
    """Cluster voice vectors (n, 192), in order of time, into speakers by first appearance.

    seconds: (n,), how long each utterance is. count: the number of speakers, if known. The speaker
    of a row of NaN is -1.
    """
    labels = np.full(len(vectors), -1)
    audible = np.flatnonzero(np.isfinite(vectors).all(1)) if len(vectors) else np.zeros(0, int)
    if len(audible):
        between = load_voice().between
        labels[audible] = cluster_voices(vectors[audible], between, seconds[audible], count)
    return renumber(labels.tolist())


def renumber(labels: list[int]) -> list[int]:
    """Number labels by first appearance; negative ones become -1.

    >>> renumber([7, 7, -1, 2, 7])
    [0, 0, -1, 1, 0]
    """
    numbers: dict[int, int] = {}
    return [-1 if label < 0 else numbers.setdefault(label, len(numbers)) for label in labels]
