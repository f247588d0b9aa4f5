"""The packaged encoder equals transformers' BERT bit for bit, and runs without importing it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from support.paths import ROOT

from extractors import TextExtractor, encoders
from extractors.minilm import MiniLM
from extractors.pretrained import read_checkpoint
from pipeline.core.errors import MercError

TEXTS = ["I don't know.", "What?! 中文字 naïve", "[SEP] oh", "Yes. " * 60, "word " * 700]


def test_tokens_equal_those_of_transformers():
    folder, _ = encoders.find_folder("minilm")
    minilm, (_, tokenizer) = MiniLM(folder, None, "cpu"), read_checkpoint(folder)
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
        batch = extractor.pad(extractor.tokens(texts))
        expected = model(**batch, output_hidden_states=True).hidden_states
        actual = extractor._source.states(batch["input_ids"], batch["attention_mask"], 7)
        assert len(actual) == len(expected)
        inside = batch["attention_mask"].bool()
        for ours, theirs in zip(actual, expected, strict=True):
            assert torch.equal(ours[inside], theirs[inside])


def test_a_damaged_package_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"hidden_size": 384, "max_position_embeddings": 512}')
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(MercError, match="reinstall"):
        MiniLM(tmp_path, None, "cpu")


def test_texts_are_read_without_transformers():
    code = (
        "import sys; from extractors import TextExtractor\n"
        "print(TextExtractor('minilm-emotion').extract(['Hello!']).shape)\n"
        "heavy = {'transformers', 'sympy', 'accelerate', 'torch._dynamo'}\n"
        "print(heavy & set(sys.modules))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert output.splitlines() == ["(1, 384)", "set()"]
