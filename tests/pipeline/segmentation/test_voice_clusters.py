"""Clusters of vectors drawn from the model of speakers itself."""

import numpy as np
import pytest

from pipeline.segmentation.voice_clusters import cluster_voices

BETWEEN = np.full(30, 4.0)


def _draw(speakers: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    voices = 2 * rng.standard_normal((speakers.max() + 1, 30))
    return voices[speakers] + rng.standard_normal((len(speakers), 30))


@pytest.mark.parametrize("count", range(1, 7))
def test_the_number_of_speakers_is_found_and_every_utterance(count: int) -> None:
    for seed in range(5):
        speakers = np.random.default_rng(seed).permutation(np.arange(8 * count) % count)
        labels = cluster_voices(_draw(speakers, seed), BETWEEN, np.full(8 * count, 3.0))
        pairs = {(int(a), int(b)) for a, b in zip(speakers, labels, strict=True)}
        assert len(pairs) == count == len(set(labels.tolist()))


@pytest.mark.parametrize("count", [2, 3, 4])
def test_no_cluster_of_a_known_number_is_one_odd_utterance(count: int) -> None:
    """A cough, far from all voices, takes the place of no speaker."""
    speakers = np.append(np.arange(10 * count) % count, count)
    vectors = _draw(speakers, count)
    vectors[-1] = 40
    seconds = np.append(np.full(10 * count, 3.0), 0.4)
    labels = cluster_voices(vectors, BETWEEN, seconds, count)
    assert sorted(set(labels.tolist())) == list(range(count))
    assert min(np.bincount(labels[:-1])) == 10


def test_a_known_number_is_obeyed() -> None:
    vectors = _draw(np.zeros(12, int), 0)
    for count in (1, 2, 5):
        labels = cluster_voices(vectors, BETWEEN, np.full(12, 2.0), count)
        assert sorted(set(labels.tolist())) == list(range(count))
    assert cluster_voices(vectors[:2], BETWEEN, np.full(2, 2.0), 3).tolist() == [0, 1]
