"""Find who speaks by voice: cluster the voice vectors of a recording's utterances. Approximate.

Clusters come from average linkage on cosine distances around the mean of the recording, which
cancels its channel. If the number of speakers is unknown, it is the largest number of clusters of
which every two are as far apart as two people: `MIN_DISTANCE` for single utterances and a little
more for larger clusters, which show one voice in more moods.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch
from scipy.cluster.hierarchy import fcluster, linkage

from pipeline.core.dialogue import Utterance
from pipeline.media.decode import RATE, Media

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
    "version": 3,
    "approximate": True,
}  # part of fingerprints
# Mean squared difference of two voices, corrected for short utterances. Chosen on acted voices that
# the whitening was not fitted to, and on GRID: 98 % of the pairs of GRID clips are separated, and
# 20 clips of one actor in random emotions usually remain one speaker.
MIN_DISTANCE = 1.3
MOOD_ALLOWANCE = 0.2  # added to the minimum for large clusters
BREVITY = 0.35  # growth of the squared difference with 1 / seconds
MAX_SPEAKERS = 12
SHORTEST = 1.0  # s; shorter utterances start no cluster but join the nearest one
ENOUGH_SPEECH = 1.7  # s; a cluster with less speech must be further away
CAUTION = 0.6  # added to the minimum for each missing second
# Share of all speech below which a cluster is a cough or noise. Its utterances join the nearest.
MIN_SHARE = 0.02
MAX_SECONDS = 30.0  # s of one utterance that are used
HOP = 0.01  # s between frames of cepstra
MIN_SIDE = 0.5  # s of loud frames needed on each side of a change of voice
CHANGE_PENALTY = 2.5  # weight of the Bayesian information criterion's penalty
_BATCH = 32  # utterances in memory at once


def voice_vectors(media: Media, utterances: list[Utterance]) -> tuple[np.ndarray, np.ndarray]:
    """Compute the voice vectors (n, 256) of utterances and the seconds (n,) they are based on.

    An utterance with less than 100 ms of sound has a row of NaN.
    """
    from extractors import voice

    vectors = np.full((len(utterances), voice.DIM), np.nan)
    seconds = np.array([min(u.end - u.start, MAX_SECONDS) for u in utterances])
    encoder = voice.load_voice()
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
    """Cluster voice vectors (n, d) into speakers, numbered by first appearance.

    seconds: (n,), how long each utterance is. count: the number of speakers, if known. The speaker
    of a row of NaN is -1.
    """
    labels = np.full(len(vectors), -1)
    audible = np.flatnonzero(np.isfinite(vectors).all(1)) if len(vectors) else np.zeros(0, int)
    if len(audible):
        labels[audible] = _cluster(vectors[audible], seconds[audible], count)
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


def _cluster(vectors: np.ndarray, seconds: np.ndarray, count: int | None) -> np.ndarray:
    """Label every vector, with exactly `count` labels if given (fewer if there are fewer vectors).

    Long utterances form the clusters; short ones and those of tiny clusters join the nearest.
    """
    if count and len(vectors) <= count:
        return np.arange(len(vectors))
    needed = count or 1
    founders = np.flatnonzero(seconds >= SHORTEST)
    if len(founders) < needed:
        founders = np.sort(np.argsort(-seconds, kind="stable")[:needed])
    points = vectors[founders]
    labels = np.full(len(vectors), -1)
    if count:
        labels[founders] = _linked(points, count)
    else:
        labels[founders] = _separate_clusters(points, seconds[founders])
    large = []
    for label in np.unique(labels[founders]):
        if count or seconds[labels == label].sum() >= MIN_SHARE * seconds.sum():
            large.append(label)
    centres = np.array([vectors[labels == label].mean(0) for label in large])
    for k in np.flatnonzero(~np.isin(labels, large)):
        labels[k] = large[int(np.square(centres - vectors[k]).sum(1).argmin())]
    return labels


def _separate_clusters(points: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Form as many clusters as possible of which all pairs are as far apart as two people."""
    square = np.square(points).sum(1)
    distance = (square[:, None] + square[None] - 2 * points @ points.T) / points.shape[1]
    distance -= BREVITY * (1 / seconds[:, None] + 1 / seconds[None]) / 2
    best = np.ones(len(points), int)
    for count in range(2, min(MAX_SPEAKERS, len(points)) + 1):
        labels = _linked(points, count)
        clusters = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        if len(clusters) == count and all(
            distance[np.ix_(a, b)].mean() > _minimum_distance(seconds[a], seconds[b])
            for a, b in combinations(clusters, 2)
        ):
            best = labels
    return best


def _minimum_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Mean distance above which two clusters are two people; a, b: seconds of their utterances."""
    lacking = max(0.0, ENOUGH_SPEECH - min(a.sum(), b.sum()))
    return MIN_DISTANCE + MOOD_ALLOWANCE * (1 - 2 / (len(a) + len(b))) + CAUTION * lacking


def _linked(points: np.ndarray, count: int) -> np.ndarray:
    """Form `count` clusters by the directions in which voices differ from their mean."""
    if len(points) <= count:
        return np.arange(len(points))
    centred = points - points.mean(0)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)
    i, j = np.triu_indices(len(points), 1)
    cosine_distance = np.maximum(1 - (centred @ centred.T)[i, j], 0)
    return fcluster(linkage(cosine_distance, "average"), count, "maxclust")


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
