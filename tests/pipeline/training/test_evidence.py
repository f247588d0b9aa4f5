"""What each modality says alone, and what its absence changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.corpora.synthetic import make_synthetic
from pipeline.training.evidence import Evidence, conflicts, describe, weigh
from pipeline.training.predictor import PRIORS, Predictor

LABELS = ("neutral", "joy", "anger")
PRIOR = dict.fromkeys(("text", "audio", "visual"), np.array([0.6, 0.2, 0.2]))


def of(alone, without, everything=(0.2, 0.7, 0.1)):
    rows = {"text": alone, "audio": (0.1, 0.2, 0.7), "visual": (np.nan,) * 3}
    masked = {"text": without, "audio": (0.1, 0.8, 0.1), "visual": (np.nan,) * 3}
    return Evidence(
        np.array([everything]),
        {name: np.array([row]) for name, row in rows.items()},
        {name: np.array([row]) for name, row in masked.items()},
        PRIOR,
    )


def test_a_description_names_what_moved_the_decision():
    about = describe(of((0.1, 0.8, 0.1), (0.6, 0.3, 0.1)), 0, LABELS)
    assert about["emotion"] == "joy" and about["confidence"] == 0.7
    assert about["agree"] is False and about["decisive"] == ["text"]
    assert set(about["modalities"]) == {"text", "audio"}  # visual is missing
    assert about["modalities"]["text"]["emotion"] == "joy"
    assert about["modalities"]["text"]["without"]["emotion"] == "neutral"
    assert about["modalities"]["text"]["shift"] == pytest.approx(0.4)
    assert about["modalities"]["audio"]["shift"] == pytest.approx(-0.1)


def test_one_modality_neither_agrees_nor_disagrees():
    alone = {"text": np.array([[0.2, 0.7, 0.1]])}
    about = describe(Evidence(alone["text"], alone, {"text": np.full((1, 3), np.nan)}, PRIOR), 0,
                     LABELS)  # fmt: skip
    assert about["agree"] is None and about["decisive"] == []
    assert "without" not in about["modalities"]["text"]


def test_strong_disagreement_needs_more_than_the_prior():
    sure = of((0.1, 0.8, 0.1), (0.6, 0.3, 0.1))
    [warning] = conflicts(sure, [12.34], LABELS, "talk.mp4")
    assert str(warning) == "talk.mp4: text and audio disagree strongly in 1 utterance, at 12.3 s"
    # neutral is frequent: .8 is less than twice its prior
    assert not conflicts(of((0.8, 0.1, 0.1), (0.6, 0.3, 0.1)), [0.0], LABELS, "x")
    assert not conflicts(of((0.4, 0.4, 0.2), (0.6, 0.3, 0.1)), [0.0], LABELS, "x")
    many = Evidence(
        sure.probabilities.repeat(7, 0),
        {name: rows.repeat(7, 0) for name, rows in sure.alone.items()},
        {name: rows.repeat(7, 0) for name, rows in sure.without.items()},
        PRIOR,
    )
    [warning] = conflicts(many, range(7), LABELS, "x")
    assert warning.text.endswith("in 7 utterances, at 0.0, 1.0, 2.0, 3.0, 4.0, ... s")


def dialogue_of(predictor, hidden):
    rng = np.random.default_rng(0)
    dialogue = make_synthetic().dialogues[0]
    n = len(dialogue.utterances)
    features = {m: rng.normal(size=(n, w)).astype("f4") for m, w in predictor.widths.items()}
    for modality, row in hidden:
        features[modality][row] = np.nan
    return replace(dialogue, features=features)


@pytest.mark.parametrize("prior", PRIORS)
def test_evidence_is_what_the_model_says_of_masked_dialogues(prior):
    predictor = Predictor.load("merc-offline")
    dialogue = dialogue_of(predictor, [("audio", 0), ("audio", 1), ("visual", 1)])
    evidence = weigh(predictor, dialogue, prior)
    np.testing.assert_array_equal(evidence.probabilities, predictor.probabilities(dialogue, prior))
    for modality in predictor.widths:
        for visible, rows in (
            ({modality}, evidence.alone[modality]),
            (predictor.widths.keys() - {modality}, evidence.without[modality]),
        ):
            features = {m: x for m, x in dialogue.features.items() if m in visible}
            expected = predictor.probabilities(replace(dialogue, features=features), prior)
            known = ~np.isnan(rows).any(1)
            np.testing.assert_allclose(rows[known], expected[known], atol=1e-6)
    missing = {m: np.isnan(rows).any(1).nonzero()[0].tolist() for m, rows in evidence.alone.items()}
    assert missing == {"text": [], "audio": [0, 1], "visual": [1]}
    # the second utterance has words only: without them there is nothing
    assert np.isnan(evidence.without["text"][1]).all()
    assert all(rows.sum() == pytest.approx(1) for rows in evidence.prior.values())


def test_no_utterances_no_evidence():
    predictor = Predictor.load("merc-offline")
    dialogue = replace(
        make_synthetic().dialogues[0], utterances=[], speakers=[], texts=[], features={}
    )
    assert weigh(predictor, dialogue).probabilities.shape == (0, 7)


def test_prior_auto_is_trained_with_words_and_uniform_without():
    predictor = Predictor.load("merc-offline")
    dialogue = dialogue_of(predictor, [("text", 0), ("text", 2), ("visual", 1)])
    auto, trained, uniform = (predictor.probabilities(dialogue, prior) for prior in PRIORS)
    wordless = np.isnan(dialogue.features["text"]).any(1)
    assert wordless.any() and not wordless.all()
    assert np.array_equal(auto[wordless], uniform[wordless])
    assert np.array_equal(auto[~wordless], trained[~wordless])
    assert not np.allclose(auto[wordless], trained[wordless])
