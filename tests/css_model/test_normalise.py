"""Standardisation by corpus and by speaker, with missing rows and constant columns."""

from __future__ import annotations

import numpy as np
import pytest

from css_model import Normaliser


def test_corpus_statistics_are_those_of_the_present_rows(dialogue) -> None:
    dialogues = [dialogue(seed, 30) for seed in range(5)]
    for d in dialogues:
        d.features["audio"] = d.features["audio"] * 1e4 + 3e5
    normaliser = Normaliser().fit(dialogues)
    rows = np.concatenate([normaliser.apply(d.features, d.speakers)["audio"] for d in dialogues])
    present = ~np.isnan(np.concatenate([d.features["audio"] for d in dialogues])).all(1)
    assert (np.isnan(rows).all(1) == ~present).all() and rows.dtype == np.float32
    assert np.allclose(rows[present].mean(0), 0, atol=1e-3)
    assert np.allclose(rows[present].std(0), 1, atol=1e-3)


def test_speaker_statistics_remove_gain_and_offset_of_a_speaker(dialogue) -> None:
    """They nearly vanish over many utterances; of a single utterance, a part of them."""
    normaliser = Normaliser("speaker").fit([dialogue(seed, 50, missing=0) for seed in range(5)])
    one = dialogue(9, 60, missing=0, speakers=2)
    first = np.array([name == "s0" for name in one.speakers])
    clean = normaliser.apply(one.features, one.speakers)["text"]
    one.features["text"] = np.where(
        first[:, None], one.features["text"] * 3 + 2, one.features["text"]
    )
    distorted = normaliser.apply(one.features, one.speakers)["text"]
    assert np.abs(distorted - clean)[first].mean() < 0.35
    assert np.abs(one.features["text"] - clean)[first].mean() > 1
    assert np.array_equal(distorted[~first], clean[~first])
    single = normaliser.apply({"text": np.full((1, 12), 5, np.float32)}, ["a"])["text"]
    plain = Normaliser("corpus").fit([dialogue(s, 50, missing=0) for s in range(5)])
    raw = plain.apply({"text": np.full((1, 12), 5, np.float32)}, ["a"])["text"]
    assert np.isfinite(single).all() and (np.abs(single) < np.abs(raw)).all() and (single > 0).all()


def test_shrinkage_equals_pseudo_utterances(dialogue) -> None:
    """Mean and variance of n utterances pooled with k utterances of the corpus."""
    normaliser = Normaliser("speaker", pseudo=6).fit(
        [dialogue(seed, 50, missing=0) for seed in range(5)]
    )
    x = np.random.default_rng(0).standard_normal((4, 12)).astype(np.float32)
    z = (x - normaliser.mean["text"]) / normaliser.sd["text"]
    mean = z.sum(0) / 10
    second = ((z**2).sum(0) + 6 * 1.0) / 10
    expected = (z - mean) / np.sqrt(second - mean**2)
    assert np.allclose(normaliser.apply({"text": x}, ["a"] * 4)["text"], expected, atol=1e-4)


def test_constant_columns_extremes_and_empty_dialogues(dialogue) -> None:
    one = dialogue(1, 20)
    one.features["visual"][:, 0] = np.where(np.isnan(one.features["visual"][:, 0]), np.nan, 1e6)
    normaliser = Normaliser({"visual": "speaker", "text": "none"}).fit([one])
    rows = {name: values * 1e20 for name, values in one.features.items()}
    result = normaliser.apply(rows, one.speakers)
    assert np.nanmax(np.abs(result["audio"])) <= 10 and np.nanmax(np.abs(result["visual"])) <= 10
    assert np.array_equal(result["text"], rows["text"].astype(np.float32), equal_nan=True)
    same = normaliser.apply(one.features, one.speakers)["visual"][:, 0]
    assert np.allclose(same[~np.isnan(same)], 0)
    assert normaliser.apply({"audio": np.zeros((0, 20), np.float32)}, [])["audio"].shape == (0, 20)


def test_directions_are_erased_and_all_others_kept(dialogue) -> None:
    """Whatever their scale, and however many of them say the same."""
    dialogues = [dialogue(seed, 30) for seed in range(3)]
    random = np.random.default_rng(0)
    two = random.standard_normal((2, 20)) * random.uniform(0.1, 100, 20)
    directions = np.stack([two[0], 1e3 * two[1], two[0] - 4 * two[1]])
    plain = Normaliser().fit(dialogues)
    normaliser = Normaliser(directions={"audio": directions}).fit(dialogues)
    one = dialogue(9, 40)
    shifts = random.standard_normal((40, 2)) @ two
    expected = normaliser.apply(one.features, one.speakers)["audio"]
    shifted = normaliser.apply({"audio": one.features["audio"] + shifts}, one.speakers)["audio"]
    assert np.allclose(shifted, expected, atol=1e-3, equal_nan=True)
    assert normaliser.erased["audio"].shape == (2, 20)
    # the projection is the nearest point of the space orthogonal to them
    standardised = plain.apply(one.features, one.speakers)["audio"]
    basis = (two / plain.sd["audio"]).T
    present = ~np.isnan(standardised).any(1)
    weights = np.linalg.lstsq(basis, standardised[present].T, rcond=None)[0]
    assert np.allclose(expected[present], standardised[present] - (basis @ weights).T, atol=1e-4)
    text = normaliser.apply(one.features, one.speakers)["text"]
    assert np.array_equal(text, plain.apply(one.features, one.speakers)["text"], equal_nan=True)


def test_wrong_input_is_refused(dialogue) -> None:
    normaliser = Normaliser().fit([dialogue(1, 20)])
    with pytest.raises(ValueError, match="expected"):
        normaliser.apply({"audio": np.zeros((3, 7), np.float32)}, ["a"] * 3)
    with pytest.raises(ValueError, match="no statistics"):
        normaliser.apply({"smell": np.zeros((3, 7), np.float32)}, ["a"] * 3)
    with pytest.raises(ValueError, match="must be one of"):
        Normaliser("median")
    with pytest.raises(ValueError, match="pseudo"):
        Normaliser(pseudo=0)
