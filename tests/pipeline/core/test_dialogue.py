"""Dialogues and corpora."""

import numpy as np
import pytest

from pipeline.core.dialogue import Corpus, Dialogue, Segmentation, Utterance


@pytest.mark.parametrize("n", [0, 2])
def test_a_dialogue_of_a_segmentation(n):
    utterances = [Utterance(0.5, 1.5, "Hi.", "S1"), Utterance(2.0, 3.0, "Bye.", "S2")][:n]
    features = {"text": np.zeros((n, 4), np.float32)}
    dialogue = Dialogue.from_segmentation("x", Segmentation(utterances, {}), features)
    assert (dialogue.id, dialogue.split) == ("x", "test")
    assert dialogue.utterances == ["0", "1"][:n]
    assert dialogue.texts == ["Hi.", "Bye."][:n] and dialogue.speakers == ["S1", "S2"][:n]
    assert dialogue.labels.tolist() == [-1] * n  # unlabelled
    assert dialogue.times.shape == (n, 2) and dialogue.times.tolist()[:1] == [[0.5, 1.5]][:n]
    assert dialogue.features is features


def test_the_splits_of_a_corpus():
    splits = ["train", "test", "train", "valid"]
    dialogues = [
        Dialogue.from_segmentation(str(k), Segmentation([], {}), {}, split)
        for k, split in enumerate(splits)
    ]
    corpus = Corpus("x", ("a", "b"), dialogues, {})
    assert [d.id for d in corpus.split("train")] == ["0", "2"]
    assert [d.id for d in corpus.epoch(3, seed=1)] == ["0", "2"]
