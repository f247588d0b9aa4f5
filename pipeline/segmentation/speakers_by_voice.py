"""Who speaks, by voice: the utterances of one medium are grouped by the vectors of `extractors.voice`.  Approximate.

Groups come from average linkage on cosines around the mean of the medium, which takes the channel away.  There are as
many as are told; else the largest number of groups whose every two are as far apart as two people: `APART` for single
utterances and a little more for groups, which show more moods of one voice.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch
from scipy.cluster.hierarchy import fcluster, linkage

from pipeline.core.dialogue import Utterance
from pipeline.media.decode import RATE, Media

__all__ = [
    "METHOD",
    "SHORTEST",
    "assign_speakers",
    "in_order",
    "voice_changes",
    "voice_frames",
    "voices",
]

METHOD = {"method": "voice-encoder", "version": 3, "approximate": True}
# Mean squared difference of two voices, seconds taken off.  Chosen on acted voices left out of the whitening and on
# GRID: 98 % of pairs of GRID clips part; 20 clips of one actor in random emotions stay one more often than not
APART = 1.3
MOODS = 0.2  # added to it for large groups
HASTE = 0.35  # by how much the squared difference grows with 1 / seconds
MOST = 12  # speakers that are looked for
CHANGE_PENALTY = 2.5
SHORTEST = 1.0  # s: a shorter utterance founds no speaker, it joins the nearest
ENOUGH, TIMID = 1.7, 0.6  # s; added to it for each second that a group's speech falls short of that
LEAST = 0.02  # share of all speech: a smaller group is a cough or a noise, its utterances join the nearest
LONGEST = 30.0  # s of an utterance that are listened to
HOP = 0.01  # s
_TOGETHER = 32  # utterances held in memory at once


def voices(media: Media, said: list[Utterance]) -> tuple[np.ndarray, np.ndarray]:
    """(n, 256) voice vectors of utterances and their seconds (n,); NaN for one without 100 ms of sound."""
    from extractors.voice import DIM, SHORTEST, load_voice

    vectors = np.full((len(said), DIM), np.nan)
    seconds = np.array([min(u.end - u.start, LONGEST) for u in said])
    encoder = load_voice()
    for first in range(0, len(said), _TOGETHER):
        heard = [
            (k, media.sound(said[k].start, said[k].start + seconds[k]))
            for k in range(first, min(first + _TOGETHER, len(said)))
        ]
        heard = [(k, sound) for k, sound in heard if len(sound) >= SHORTEST * RATE]
        if heard:
            vectors[[k for k, _ in heard]] = encoder.vectors([sound for _, sound in heard])
    return vectors, seconds


def assign_speakers(
    vectors: np.ndarray, seconds: np.ndarray, count: int | None = None
) -> list[int]:
    """A speaker number for each voice vector (n, d), numbered by first appearance; -1 for a row of NaN."""
    labels = np.full(len(vectors), -1)
    heard = np.flatnonzero(np.isfinite(vectors).all(1)) if len(vectors) else np.zeros(0, int)
    if len(heard):
        labels[heard] = _groups(vectors[heard], seconds[heard], count)
    return in_order(labels.tolist())


def in_order(labels: list[int]) -> list[int]:
    """Numbers by first appearance; below 0 stays -1."""
    seen: dict[int, int] = {}
    return [-1 if label < 0 else seen.setdefault(label, len(seen)) for label in labels]


def voice_frames(media: Media, start: float, end: float) -> np.ndarray:
    """(n, 20) float32 cepstra of the louder frames; n = 0 for less than 50 ms of sound."""
    from torchaudio.compliance.kaldi import mfcc

    sound = media.sound(start, min(end, start + 30.0))
    if len(sound) < 0.05 * RATE:
        return np.zeros((0, 20), np.float32)
    cepstra = mfcc(
        torch.from_numpy(sound)[None] * 32768,
        num_ceps=21,
        num_mel_bins=40,
        dither=0.0,
        sample_frequency=RATE,
    ).numpy()
    return cepstra[cepstra[:, 0] >= np.quantile(cepstra[:, 0], 0.3), 1:]


def voice_changes(frames: np.ndarray, at: int) -> bool:
    """Whether another voice begins at frame `at`, with a second or more on both sides."""
    if min(at, len(frames) - at) < SHORTEST / HOP:
        return False
    return _gain(frames[:at], frames[at:], CHANGE_PENALTY) > 0


def _groups(vectors: np.ndarray, seconds: np.ndarray, count: int | None) -> np.ndarray:
    """A label for each; exactly `count` of them (or one each, when there are fewer utterances) where it is given."""
    if count and len(vectors) <= count:
        return np.arange(len(vectors))
    founders = np.flatnonzero(seconds >= SHORTEST)
    if len(founders) < (count or 1):
        founders = np.sort(np.argsort(-seconds, kind="stable")[: count or 1])
    labels = np.full(len(vectors), -1)
    points = vectors[founders]
    labels[founders] = (
        _parted(points, count) if count else _as_many_as_apart(points, seconds[founders])
    )
    spoken = {label: seconds[labels == label].sum() for label in np.unique(labels[founders])}
    kept = [label for label, total in spoken.items() if count or total >= LEAST * seconds.sum()]
    centres = np.array([vectors[labels == label].mean(0) for label in kept])
    for k in np.flatnonzero(~np.isin(labels, kept)):
        labels[k] = kept[int(np.square(centres - vectors[k]).sum(1).argmin())]
    return labels


def _as_many_as_apart(points: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """The largest number of groups of which all pairs are further apart than utterances of one speaker."""
    square = np.square(points).sum(1)
    distance = (square[:, None] + square[None] - 2 * points @ points.T) / points.shape[1]
    distance -= HASTE * (1 / seconds[:, None] + 1 / seconds[None]) / 2
    best = np.ones(len(points), int)
    for count in range(2, min(MOST, len(points)) + 1):
        labels = _parted(points, count)
        groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        if len(groups) == count and all(
            distance[np.ix_(a, b)].mean() > _apart(seconds[a], seconds[b])
            for a, b in combinations(groups, 2)
        ):
            best = labels
    return best


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    """The mean distance above which two groups, given the seconds of their utterances, are two people."""
    short = max(0.0, ENOUGH - min(one.sum(), other.sum()))
    return APART + MOODS * (1 - 2 / (len(one) + len(other))) + TIMID * short


def _parted(points: np.ndarray, count: int) -> np.ndarray:
    """`count` groups by the directions in which voices leave their mean."""
    if len(points) <= count:
        return np.arange(len(points))
    centred = points - points.mean(0)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)
    i, j = np.triu_indices(len(points), 1)
    return fcluster(
        linkage(np.maximum(1 - (centred @ centred.T)[i, j], 0), "average"), count, "maxclust"
    )


def _gain(a: np.ndarray, b: np.ndarray, penalty: float) -> float:
    """Bayesian information gained by two Gaussians over one; above 0 speaks for two voices."""
    d, n = a.shape[1], len(a) + len(b)
    parameters = d + d * (d + 1) / 2
    return 0.5 * (
        n * _log_volume(np.concatenate([a, b])) - len(a) * _log_volume(a) - len(b) * _log_volume(b)
    ) - penalty * 0.5 * parameters * np.log(n)


def _log_volume(frames: np.ndarray) -> float:
    return float(np.linalg.slogdet(np.cov(frames.T) + 1e-3 * np.eye(frames.shape[1]))[1])
