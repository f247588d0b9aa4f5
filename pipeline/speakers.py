"""Who speaks, by voice: the turns of one medium are clustered.  Approximate.

A turn is its 20 mel cepstra (40 bands, without C0) over the louder 70 % of its 10 ms frames, seen in the space of
`pipeline.voice_space`.  Average linkage: up to a distance that is scaled by what turns so short differ by chance, or,
with the number of speakers known, on cosines from the mean of the turns.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist

from pipeline.media import RATE, Media
from pipeline.voice_space import directions, statistics

__all__ = ["METHOD", "assign_speakers", "voice_changes", "voice_frames"]

METHOD = {"method": "mfcc-lda", "version": 2, "approximate": True}
APART = 1.5  # distance of two voices: jfk, hamilton and each GRID clip stay one; 34 of 54 pairs of GRID speakers part
CHANGE_PENALTY = 2.5
SHORTEST = 1.0  # s: a shorter turn founds no speaker, it joins the nearest
LEAST = 0.02  # share of all speech: a smaller group is a cough or a noise, its turns join the nearest
HOP = 0.01  # s


def voice_frames(media: Media, start: float, end: float) -> np.ndarray:
    """(n, 20) float32 cepstra of the louder frames; n = 0 for less than 50 ms of sound."""
    from torchaudio.compliance.kaldi import mfcc

    sound = media.sound(start, min(end, start + 30.0))
    if len(sound) < 0.05 * RATE:
        return np.zeros((0, 20), np.float32)
    cepstra = mfcc(torch.from_numpy(sound)[None] * 32768, num_ceps=21, num_mel_bins=40, dither=0.0,
                   sample_frequency=RATE).numpy()
    return cepstra[cepstra[:, 0] >= np.quantile(cepstra[:, 0], 0.3), 1:]


def assign_speakers(turns: list[np.ndarray], count: int | None = None) -> list[int]:
    """A speaker number for each turn's frames, numbered by first appearance; -1 for a turn without sound."""
    labels = np.full(len(turns), -1)
    heard = [k for k, frames in enumerate(turns) if len(frames) >= 2]
    if heard:
        labels[heard] = _clusters([turns[k] for k in heard], count)
    seen: dict[int, int] = {}
    return [-1 if label < 0 else seen.setdefault(int(label), len(seen)) for label in labels]


def voice_changes(frames: np.ndarray, at: int) -> bool:
    """Whether another voice begins at frame `at`, with a second or more on both sides."""
    if min(at, len(frames) - at) < SHORTEST / HOP:
        return False
    return _gain(frames[:at], frames[at:], CHANGE_PENALTY) > 0


def _clusters(turns: list[np.ndarray], count: int | None) -> np.ndarray:
    """A label for each turn; exactly `count` of them (or one a turn, when there are fewer turns) where it is given."""
    if count and len(turns) <= count:
        return np.arange(len(turns))
    seconds = np.array([len(frames) * HOP / 0.7 for frames in turns])
    founders = np.flatnonzero(seconds >= SHORTEST * 0.7)
    if len(founders) < (count or 1):
        founders = np.sort(np.argsort(-seconds, kind="stable")[: count or 1])
    rows = np.array([statistics(frames) for frames in turns])
    points = rows @ directions()
    labels = np.full(len(turns), -1)
    if count:
        labels[founders] = _parted(rows[founders], points[founders], count)
    else:
        labels[founders] = _linked(points[founders], seconds[founders])
    spoken = {label: seconds[labels == label].sum() for label in np.unique(labels[founders])}
    kept = [label for label, total in spoken.items() if count or total >= LEAST * seconds.sum()]
    centres = np.array([points[labels == label].mean(0) for label in kept])
    for k in np.flatnonzero(~np.isin(labels, kept)):
        labels[k] = kept[int(np.square(centres - points[k]).sum(1).argmin())]
    return labels


def _linked(points: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Average linkage up to `APART`; the squared distance of two turns of one voice grows with 1 / their seconds."""
    if len(points) < 2:
        return np.ones(len(points), int)
    i, j = np.triu_indices(len(points), 1)
    distance = np.sqrt(np.square(points[i] - points[j]).mean(1) / (1 + (1 / seconds[i] + 1 / seconds[j]) / 2))
    return fcluster(linkage(distance, "average"), APART, "distance")


def _parted(rows: np.ndarray, points: np.ndarray, count: int) -> np.ndarray:
    """`count` groups by the directions in which turns leave their mean, raw and in the voice space alike."""
    if len(rows) < 2:
        return np.ones(len(rows), int)
    scaled = (rows - rows.mean(0)) / (rows.std(0) + 1e-6)
    distance = pdist(scaled, "cosine") + pdist(points - points.mean(0), "cosine")
    return fcluster(linkage(np.nan_to_num(distance), "average"), count, "maxclust")


def _gain(a: np.ndarray, b: np.ndarray, penalty: float) -> float:
    """Bayesian information gained by two Gaussians over one; above 0 speaks for two voices."""
    d, n = a.shape[1], len(a) + len(b)
    parameters = d + d * (d + 1) / 2
    return 0.5 * (n * _log_volume(np.concatenate([a, b])) - len(a) * _log_volume(a) - len(b) * _log_volume(b)
                  ) - penalty * 0.5 * parameters * np.log(n)


def _log_volume(frames: np.ndarray) -> float:
    return float(np.linalg.slogdet(np.cov(frames.T) + 1e-3 * np.eye(frames.shape[1]))[1])
