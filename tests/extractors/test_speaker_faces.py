"""The face of a speaker by all of the speaker's utterances."""

import numpy as np
from scipy.optimize import linear_sum_assignment

from extractors.speaker_faces import FaceIdentities, Sighting, _pairs, choose_faces


def _sightings(rng: np.random.Generator, speaking: list[int]) -> list[list[Sighting]]:
    """Two faces with weak evidence: right in about 70 % of the utterances."""
    return [
        [Sighting(k, 0.0, float(rng.normal(0.7 * (k == face), 0.9))) for k in (0, 1)]
        for face in speaking
    ]


def test_pooled_weak_evidence_is_better_than_each_utterance() -> None:
    rng = np.random.default_rng(0)
    alone, pooled = [], []
    for _ in range(60):
        speaking = [0, 1] * 8
        faces = _sightings(rng, speaking)
        names = [f"S{face}" for face in speaking]
        for correct, speakers in ((alone, [""] * 16), (pooled, names)):
            chosen = choose_faces(faces, speakers)
            correct += [best == face for (best, _), face in zip(chosen, speaking, strict=True)]
            assert all(0 < confidence < 1 for _, confidence in chosen)
    assert np.mean(pooled) > np.mean(alone) + 0.1


def test_clear_evidence_of_one_utterance_is_not_overruled() -> None:
    faces = [[Sighting(0, 0.0, 1.0), Sighting(1, 0.0, 0.0)]] * 9
    faces = [*faces, [Sighting(0, 0.0, 0.0), Sighting(1, 0.0, 9.0)]]
    assert [best for best, _ in choose_faces(faces, ["a"] * 10)] == [0] * 9 + [1]


def test_size_and_place_are_not_pooled() -> None:
    """The larger face is preferred by the same odds in one utterance as in ten."""
    one = [Sighting(0, 0.5, 0.0), Sighting(1, 0.0, 0.0)]
    assert choose_faces([one], ["a"])[0] == choose_faces([one] * 10, ["a"] * 10)[0]


def test_faces_keep_their_identity_through_cuts_but_two_are_never_one() -> None:
    rng = np.random.default_rng(0)
    pictures = rng.standard_normal((2, 144))
    pictures -= pictures.mean(1, keepdims=True)
    pictures /= np.linalg.norm(pictures, axis=1, keepdims=True)
    places = [(0.3, 0.4), (0.7, 0.4)]
    identities = FaceIdentities()
    assert identities.identify([1, 2], pictures, places) == [0, 1]
    assert identities.identify([4, 3], pictures[::-1], places[::-1]) == [1, 0]
    assert identities.identify([5, 6], pictures[[0, 0]], [places[0]] * 2)[0] == 0
    assert len(set(identities.identify([7, 8], pictures[[1, 1]], [places[1]] * 2))) == 2


def test_faces_are_paired_as_scipy_pairs_them() -> None:
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (1, 6), (6, 1), (3, 5)):
        distances = rng.random(shape)
        rows, columns = linear_sum_assignment(distances)
        assert _pairs(distances) == list(zip(rows, columns, strict=True))
