"""Cluster voice vectors into speakers, by how likely they are under a model of speakers.

The two-covariance model (Brümmer and de Villiers 2010): in each direction, a speaker is drawn with
variance `between`, and an utterance from its speaker with variance 1, more if it is short. Clusters
are merged as long as that is more likely than two speakers. The utterances are then assigned anew
by the Viterbi algorithm: who speaks tends to go on, and short utterances say little.
"""

from __future__ import annotations

import numpy as np

__all__ = ["cluster_voices"]

# Chosen on conversations of CREMA-D actors on whom the model was not fitted; see docs/speakers.md.
CHANNEL = 0.6  # share of the recording's mean that is its channel, not its speakers
TRUST = 0.6  # weight of one long utterance: utterances of a speaker share room and mood
BREVITY = 0.7  # s of speech that have half the weight
PREFERENCE = 0.0  # log odds, before any evidence, that two clusters are one speaker
STAY = 0.5  # probability that the speaker of an utterance is that of the one before
ENOUGH_SPEECH = 1.5  # s; a cluster with less is no speaker
ENOUGH_OF_KNOWN = 0.5  # s; likewise, where the number of speakers is known
MIN_SHARE = 0.02  # of all speech; likewise
MAX_SPEAKERS = 12
LEAST = 0.8  # weight of a cluster that may not lose more than half of it
ROUNDS = 3  # of the Viterbi algorithm, at most


def cluster_voices(
    vectors: np.ndarray, between: np.ndarray, seconds: np.ndarray, count: int | None = None
) -> np.ndarray:
    """Return the cluster (n,) of each utterance, numbered from 0.

    vectors: (n, d) in order of time. between: (d,). seconds: (n,). count: the number of speakers,
    if known: there are that many clusters, unless there are fewer utterances.

    >>> rows = np.array([[9.0], [8.0], [-9.0], [8.5]])
    >>> cluster_voices(rows, np.array([50.0]), np.full(4, 3.0)).tolist()
    [0, 0, 1, 0]
    """
    if count and len(vectors) <= count:
        return np.arange(len(vectors))
    vectors = vectors - CHANNEL * np.average(vectors, axis=0, weights=seconds)
    weights = TRUST * seconds / (seconds + BREVITY)
    labels = _merge(vectors, between, weights, seconds, count)
    for _ in range(ROUNDS):
        assigned = _decode(vectors, between, weights, labels)
        before = np.bincount(labels, weights)
        after = np.bincount(assigned, weights, len(before))
        if np.array_equal(assigned, labels) or (after < np.minimum(before / 2, LEAST)).any():
            break  # a speaker would vanish
        labels = assigned
    return labels


def _merge(
    vectors: np.ndarray,
    between: np.ndarray,
    weights: np.ndarray,
    seconds: np.ndarray,
    count: int | None,
) -> np.ndarray:
    """Merge the most likely pair of clusters until few enough remain; drop what is too small.

    Utterances of dropped clusters get the label of the cluster that is most likely for them.
    """
    n = len(vectors)
    sums, mass = weights[:, None] * vectors, weights.copy()
    lengths = seconds.astype(float).copy()
    own = _likelihood(sums, mass, between)
    labels = np.arange(n)
    gains = np.full((n, n), -np.inf)
    for k in range(n - 1):
        others = np.arange(k + 1, n)
        joint = _likelihood(sums[k] + sums[others], mass[k] + mass[others], between)
        gains[k, others] = gains[others, k] = joint - own[k] - own[others]
    best = gains.argmax(1)
    alive = np.ones(n, bool)
    enough = ENOUGH_OF_KNOWN if count else ENOUGH_SPEECH
    least = min(enough, seconds.sum() / (2 * (count or 1)))
    least = max(least, 0.0 if count else MIN_SHARE * seconds.sum())
    snapshot = labels.copy()
    while alive.sum() > 1:
        large = int((lengths[alive] >= least).sum())
        if count and large == count:
            snapshot = labels.copy()
        a = int(np.argmax(gains[np.arange(n), best]))
        b = int(best[a])
        if count:
            if alive.sum() <= count:
                break
        elif gains[a, b] < -PREFERENCE and large <= MAX_SPEAKERS:
            break
        a, b = min(a, b), max(a, b)
        sums[a] += sums[b]
        mass[a] += mass[b]
        lengths[a] += lengths[b]
        labels[labels == b] = a
        alive[b] = False
        gains[b] = gains[:, b] = -np.inf
        own[a] = _likelihood(sums[a], mass[a], between)
        others = np.flatnonzero(alive & (np.arange(n) != a))
        joint = _likelihood(sums[a] + sums[others], mass[a] + mass[others], between)
        gains[a, others] = gains[others, a] = joint - own[a] - own[others]
        stale = np.flatnonzero(alive & ((best == a) | (best == b)))
        best[stale] = gains[stale].argmax(1)
        best[a] = gains[a].argmax()
        better = others[gains[others, a] > gains[others, best[others]]]
        best[better] = a
    if count and len(np.unique(snapshot)) < n:
        labels = snapshot
    return _without_small(vectors, between, weights, seconds, labels, least)


def _without_small(
    vectors: np.ndarray,
    between: np.ndarray,
    weights: np.ndarray,
    seconds: np.ndarray,
    labels: np.ndarray,
    least: float,
) -> np.ndarray:
    names, labels = np.unique(labels, return_inverse=True)
    lengths = np.bincount(labels, seconds)
    large = np.flatnonzero(lengths >= least)
    if not len(large):
        large = np.array([int(lengths.argmax())])
    fits = _fits(vectors, between, weights, labels, len(names))
    small = ~np.isin(labels, large)
    labels[small] = large[fits[small][:, large].argmax(1)]
    return np.unique(labels, return_inverse=True)[1]


def _likelihood(sums: np.ndarray, mass: np.ndarray, between: np.ndarray) -> np.ndarray:
    """Log likelihood of clusters, up to what does not depend on the clustering.

    sums: (..., d) weighted sums of vectors. mass: (...) sums of weights.
    """
    spread = 1 + mass[..., None] * between
    return 0.5 * (between * np.square(sums) / spread - np.log(spread)).sum(-1)


def _fits(
    vectors: np.ndarray, between: np.ndarray, weights: np.ndarray, labels: np.ndarray, count: int
) -> np.ndarray:
    """Log likelihood (n, count) of each utterance given the other utterances of a cluster."""
    members = labels[:, None] == np.arange(count)
    sums = members.T @ (weights[:, None] * vectors)
    mass = members.T @ weights
    fits = np.empty((len(vectors), count))
    for k in range(count):
        own = members[:, k, None]
        others = sums[k] - own * weights[:, None] * vectors
        spread = 1 + (mass[k] - members[:, k] * weights)[:, None] * between
        variance = between / spread + 1 / np.maximum(weights, 1e-6)[:, None]
        error = vectors - between * others / spread
        fits[:, k] = -0.5 * (np.square(error) / variance + np.log(variance)).sum(1)
    return fits


def _decode(
    vectors: np.ndarray, between: np.ndarray, weights: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Assign utterances to the clusters by the Viterbi algorithm."""
    count = int(labels.max()) + 1
    if count < 2:
        return labels
    fits = _fits(vectors, between, weights, labels, count)
    moves = np.full((count, count), np.log((1 - STAY) / (count - 1)))
    np.fill_diagonal(moves, np.log(STAY))
    score, origins = fits[0], []
    for row in fits[1:]:
        paths = score[:, None] + moves
        origins.append(paths.argmax(0))
        score = paths.max(0) + row
    path = [int(score.argmax())]
    for origin in reversed(origins):
        path.append(int(origin[path[-1]]))
    return np.array(path[::-1])
