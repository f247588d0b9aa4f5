"""Batches of similar length; batches in parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.releases import small_roberta

from extractors import TextExtractor
from pipeline.finetuning.config import load_settings
from pipeline.finetuning.trainer import Examples, _Training, batches


def test_batches_have_similar_lengths_and_hold_every_utterance() -> None:
    lengths = np.random.default_rng(0).integers(3, 60, 1003).tolist()
    first = batches(lengths, 16, seed=0, epoch=0)
    assert first == batches(lengths, 16, seed=0, epoch=0) and len(first) == 63
    assert sorted(k for batch in first for k in batch) == list(range(1003))
    padded = sum(max(lengths[k] for k in batch) * len(batch) for batch in first)
    assert padded < 1.1 * sum(lengths)
    assert batches(lengths, 16, seed=0, epoch=1) != first
    assert batches(lengths, 16, seed=1, epoch=0) != first


def test_a_batch_in_parts_gives_the_same_step(tmp_path: Path) -> None:
    texts = ["Hi there.", "No!", "What do you mean?", "I see.", "Never again.", "Come on in."]
    extractor = TextExtractor(small_roberta(tmp_path / "encoder", texts))
    labels = np.array([0, 1, 0, 1, 0, 1])
    settings = ["model.dropout=0", "train.bf16=no", "train.lr=1e-3", "train.clip=1"]
    config = load_settings("table", "small", settings)
    results = []
    for parts in (1, 3):
        training = _Training(extractor, labels, 2, "full", config, seed=0)
        examples = Examples(extractor.tokens(texts), labels)
        loader = training.loader(examples, batch_size=len(texts) // parts)
        loss = training.step(list(loader), 1.0)
        results.append((loss, training.model.trained_weights()))
    (whole, weights), (sum_of_parts, others) = results
    assert whole == pytest.approx(sum_of_parts, abs=1e-5)
    for name, weight in weights.items():
        torch.testing.assert_close(weight, others[name], atol=1e-5, rtol=1e-4)
