"""Protocols split a corpus without overlap; a corpus that cannot be trained on is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.training import edited, tiny

from pipeline.core.dialogue import Corpus
from pipeline.core.errors import MercError
from pipeline.training.protocols import split_corpus


def test_published_trains_on_valid_and_selects_on_test(corpus: Corpus) -> None:
    clean, leaky = (
        split_corpus(corpus, tiny().data, protocol) for protocol in ("clean", "published")
    )
    added = {d.id for d in leaky.train(0, 0)} - {d.id for d in clean.train(0, 0)}
    assert added == {d.id for d in corpus.split("valid")}
    assert [d.id for d in leaky.select] == [d.id for d in corpus.split("test")]
    assert [d.id for d in clean.select] == [d.id for d in corpus.split("valid")]


def test_missing_parts_are_split_off_without_overlap(corpus: Corpus) -> None:
    single = replace(corpus, dialogues=[replace(d, split="train") for d in corpus.dialogues])
    parts = split_corpus(single, tiny().data, "clean")
    ids = [{d.id for d in part} for part in (parts.train(0, 0), parts.valid, parts.test)]
    assert sum(map(len, ids)) == len(set.union(*ids)) == len(corpus.dialogues)
    assert len(ids[1]) == round(0.1 * 38) and len(ids[2]) == round(0.15 * 38)
    assert sum("split_seed 0" in note for note in parts.notes) == 2
    other = split_corpus(single, tiny("data.split_seed=1").data, "clean")
    assert {d.id for d in other.test} != ids[2]


HOSTILE = {
    "no training": (lambda d: replace(d, split="test"), "0 dialogues in the split train"),
    "one class": (
        lambda d: replace(d, labels=np.zeros_like(d.labels)),
        "only the class 'calm-odd'",
    ),
    "label out of range": (lambda d: replace(d, labels=d.labels + 1), "label 6"),
    "wrong width": (
        lambda d: replace(d, features=d.features | {"text": d.features["text"][:, 1:]}),
        "train000, text",
    ),
    "infinite": (
        lambda d: replace(d, features={m: rows * np.inf for m, rows in d.features.items()}),
        "train000",
    ),
    "enormous": (
        lambda d: replace(
            d, features={m: rows + np.float32(3e38) for m, rows in d.features.items()}
        ),
        "train000, text: a value of 3e\\+38",
    ),
    "one name": (lambda d: replace(d, id="same"), "same comes twice"),
    "nothing but NaN": (
        lambda d: replace(d, features={m: rows * np.nan for m, rows in d.features.items()}),
        "every feature of the training part is missing",
    ),
    "valid without labels": (
        lambda d: replace(d, labels=np.full_like(d.labels, -1)) if d.split == "valid" else d,
        "valid split has no labelled",
    ),
}


@pytest.mark.parametrize("fault", HOSTILE)
def test_a_corpus_that_cannot_be_trained_on_is_refused(fault: str, corpus: Corpus) -> None:
    change, message = HOSTILE[fault]
    with pytest.raises(MercError, match=message), np.errstate(invalid="ignore"):
        split_corpus(edited(corpus, change), tiny().data, "clean")


def test_train_and_test_sharing_a_dialogue_is_refused(corpus: Corpus) -> None:
    repeated = replace(corpus.dialogues[0], split="test")
    shared = replace(corpus, dialogues=[*corpus.dialogues, repeated])
    with pytest.raises(MercError, match="train000 is in train and test"):
        split_corpus(shared, tiny().data, "clean")
