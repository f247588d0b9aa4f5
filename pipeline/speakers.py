"""Who speaks, by voice: turns of one medium are clustered, without any trained weights.  Approximate.

A turn is its 20 mel cepstra (40 bands, without C0) over the louder 70 % of its 10 ms frames.  With the number of
speakers known: mean and deviation per turn, standardised over the turns, average linkage on the cosine.  Unknown: full
Gaussians, merged while the Bayesian information criterion gains (Chen and Gopalakrishnan 1998, DARPA), its penalty
raised because emotion changes a voice as a speaker does.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.cluster.hierarchy import fcluster, linkage

from pipeline.media import RATE, Media

__all__ = ["METHOD", "assign_speakers", "voice_changes", "voice_frames"]

METHOD = {"method": "mfcc-bic", "version": 1, "approximate": True}
PENALTY = 2.2  # times the usual one: real talk of 2 and speeches of 1 come out as such, see tests
CHANGE_PENALTY = 2.5
SHORTEST = 1.0  # s: a shorter turn founds no speaker, it joins the likeliest
MOST = 100  # turns that are merged pairwise; the others join the likeliest speaker
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
        frames = [turns[k] for k in heard]
        labels[heard] = _by_cosine(frames, count) if count else _by_information(frames)
    seen: dict[int, int] = {}
    return [-1 if label < 0 else seen.setdefault(int(label), len(seen)) for label in labels]


def voice_changes(frames: np.ndarray, at: int) -> bool:
    """Whether another voice begins at frame `at`, with a second or more on both sides."""
    if min(at, len(frames) - at) < SHORTEST / HOP:
        return False
    return _gain(frames[:at], frames[at:], CHANGE_PENALTY) > 0


def _by_cosine(turns: list[np.ndarray], count: int) -> np.ndarray:
    if len(turns) <= count or count == 1:
        return np.zeros(len(turns), int) if count == 1 else np.arange(len(turns))
    rows = np.array([np.r_[frames.mean(0), frames.std(0)] for frames in turns])
    rows = (rows - rows.mean(0)) / (rows.std(0) + 1e-6)
    rows[~rows.any(1)] = 1e-6  # a turn exactly at the mean has no direction
    return fcluster(linkage(rows, "average", metric="cosine"), count, "maxclust")


def _by_information(turns: list[np.ndarray]) -> np.ndarray:
    long = sorted((k for k in range(len(turns)) if len(turns[k]) >= 0.7 * SHORTEST / HOP),
                  key=lambda k: -len(turns[k]))[:MOST]
    founders = sorted(long) or [max(range(len(turns)), key=lambda k: len(turns[k]))]
    groups = {k: [k] for k in founders}
    pools = {k: turns[k] for k in founders}
    gains = {(i, j): _gain(pools[i], pools[j], PENALTY) for i in founders for j in founders if i < j}
    while gains:
        pair = min(gains, key=lambda p: (gains[p], p))
        if gains[pair] > 0:  # apart explains every pair better than together
            break
        keep, gone = pair
        groups[keep] += groups.pop(gone)
        pools[keep] = np.concatenate([pools[keep], pools.pop(gone)])
        gains = {p: gain for p, gain in gains.items() if gone not in p and keep not in p}
        gains |= {(min(keep, k), max(keep, k)): _gain(pools[keep], pools[k], PENALTY) for k in pools if k != keep}
    labels = np.full(len(turns), -1)
    for number, members in enumerate(groups.values()):
        labels[members] = number
    for k in np.flatnonzero(labels < 0):
        labels[k] = max(range(len(pools)), key=lambda number: _likelihood(turns[k], list(pools.values())[number]))
    return labels


def _gain(a: np.ndarray, b: np.ndarray, penalty: float) -> float:
    """Bayesian information gained by two Gaussians over one; above 0 speaks for two voices."""
    d, n = a.shape[1], len(a) + len(b)
    parameters = d + d * (d + 1) / 2
    return 0.5 * (n * _log_volume(np.concatenate([a, b])) - len(a) * _log_volume(a) - len(b) * _log_volume(b)
                  ) - penalty * 0.5 * parameters * np.log(n)


def _log_volume(frames: np.ndarray) -> float:
    return float(np.linalg.slogdet(np.cov(frames.T) + 1e-3 * np.eye(frames.shape[1]))[1])


def _likelihood(frames: np.ndarray, pool: np.ndarray) -> float:
    """Mean log-likelihood under a Gaussian with diagonal covariance."""
    variance = pool.var(0) + 1e-3
    return float(-(np.square(frames - pool.mean(0)) / variance + np.log(variance)).mean())
