"""The packaged encoder equals transformers' BERT, and runs without torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.imports import run_alone

from extractors import TextExtractor, encoders
from extractors.minilm import MiniLM
from extractors.pretrained import Pretrained, read_checkpoint
from extractors.text import _batches
from pipeline.core.errors import MercError

TEXTS = ["I don't know.", "What?! 中文字 naïve", "[SEP] oh", "Yes. " * 60, "word " * 700]


def test_tokens_equal_those_of_transformers():
    folder, _ = encoders.find_folder("minilm")
    minilm, (_, tokenizer) = MiniLM(folder, None), read_checkpoint(folder)
    for text in TEXTS:
        ids = tokenizer(text, verbose=False)["input_ids"]
        expected = tokenizer(text, truncation=True, max_length=512)["input_ids"]
        assert minilm.tokens(text) == (expected, len(ids) > 512)
    assert minilm.longest == 512
    assert (minilm.start, minilm.padding) == (tokenizer.cls_token_id, tokenizer.pad_token_id)


@pytest.mark.parametrize("name", ["minilm", "minilm-emotion"])
@torch.inference_mode()
def test_states_equal_those_of_transformers(name: str):
    extractor = TextExtractor(name)
    model = extractor.encoder()
    for texts in (TEXTS, TEXTS[:1]):
        rows = extractor.tokens(texts)
        expected = model(**extractor.pad(rows), output_hidden_states=True).hidden_states[-4:]
        actual, mask = extractor._source.states(rows, 4)
        assert len(actual) == len(expected)
        inside = mask.astype(bool)
        for ours, theirs in zip(actual, expected, strict=True):
            np.testing.assert_allclose(ours[inside], theirs[inside], atol=5e-5)  # of 10 at most


@pytest.mark.parametrize("layers", ["last", "last4", "four"])
def test_features_equal_those_of_transformers(layers: str):
    extractor = TextExtractor("minilm-emotion", layers=layers)
    source = Pretrained(extractor._source.folder, extractor._source.updates, "cpu")
    rows = [source.embed([row], layers, extractor.pooling)[0] for row in extractor.tokens(TEXTS)]
    np.testing.assert_allclose(extractor.extract(TEXTS), rows, atol=1e-5)


def test_long_texts_are_embedded_in_small_batches():
    assert _batches([512] * 9, 32) == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]
    assert _batches([12] * 70, 32) == [[*range(32)], [*range(32, 64)], [*range(64, 70)]]


def test_a_damaged_package_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"hidden_size": 384, "max_position_embeddings": 512}')
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(MercError, match="reinstall"):
        MiniLM(tmp_path, None)


def test_texts_are_read_without_torch():
    lines, modules = run_alone(
        "from extractors import TextExtractor\n"
        "print(TextExtractor('minilm-emotion').extract(['Hello!']).shape)"
    )
    assert lines == ["(1, 384)"]
    assert not {"transformers", "torch", "scipy", "onnx"} & modules
