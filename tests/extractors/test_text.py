"""Text features equal transformers' states in any batch; unsafe checkpoints are refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from support.threads import with_threads
from transformers import (
    AutoTokenizer,
    BartConfig,
    BartModel,
    RobertaConfig,
    RobertaForSequenceClassification,
    RobertaModel,
    RobertaTokenizerFast,
)

from extractors import TextExtractor
from extractors.encoders import DELTAS
from extractors.text import clean_text
from pipeline.core.errors import MercError
from pipeline.core.fingerprints import fingerprint_id, sha256_of

TEXTS = [
    "I don't know.",
    "What?!",
    "We were on a break, and you know it as well as I do.",
    "oh",
    "Yes. " * 60,
]


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a small RoBERTa classifier and its byte-level BPE, as a fine-tuned model is saved."""
    from tokenizers import ByteLevelBPETokenizer

    folder = tmp_path_factory.mktemp("roberta")
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        TEXTS * 4, vocab_size=400, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    )
    bpe.save_model(str(folder))
    RobertaTokenizerFast.from_pretrained(folder, model_max_length=64).save_pretrained(folder)
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=bpe.get_vocab_size(),
        hidden_size=48,
        num_hidden_layers=6,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=66,
        num_labels=7,
        type_vocab_size=1,
    )
    RobertaForSequenceClassification(config).save_pretrained(folder)
    return folder


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


@pytest.mark.parametrize("layers", ["last", "last4"])
def test_roberta_equals_transformers(roberta: Path, layers: str):
    extractor = TextExtractor(roberta, layers=layers)
    tokenizer = AutoTokenizer.from_pretrained(roberta)
    model = RobertaModel.from_pretrained(roberta, add_pooling_layer=False).eval()
    for text, row in zip(TEXTS, extractor.extract(TEXTS), strict=True):
        cleaned = " ".join(text.split())
        tokens = tokenizer(cleaned, return_tensors="pt", truncation=True, max_length=64)
        with torch.no_grad():
            states = model(**tokens, output_hidden_states=True).hidden_states
        first = torch.stack([state[0, 0] for state in states])
        expected = first[-1] if layers == "last" else first[-4:].mean(0)
        np.testing.assert_allclose(row, expected.numpy(), atol=2e-5)


def test_row_depends_on_its_own_text_only(roberta: Path):
    for extractor in (TextExtractor(roberta), TextExtractor("minilm")):
        together = extractor.extract(TEXTS)
        order = [3, 0, 4, 2, 1]
        np.testing.assert_allclose(
            extractor.extract([TEXTS[k] for k in order]), together[order], atol=1e-5
        )
        extractor.batch = 2
        np.testing.assert_allclose(extractor.extract(TEXTS), together, atol=1e-5)
        np.testing.assert_allclose(
            np.concatenate([extractor.extract([text]) for text in TEXTS]), together, atol=1e-5
        )
        assert together.dtype == np.float32 and together.shape == (len(TEXTS), extractor.dim)
        assert extractor.extract([]).shape == (0, extractor.dim)


def test_minilm_reflects_meaning():
    extractor = TextExtractor()
    assert extractor.dim == 384
    glad, happy, sad = extractor.extract(
        ["I am so glad!", "This makes me really happy.", "The bus leaves at nine."]
    )
    assert cosine(glad, happy) > cosine(glad, sad) + 0.2


def test_minilm_emotion_is_minilm_with_updates():
    """Same weights file as minilm, other features; the update is part of the fingerprint."""
    tuned, plain = TextExtractor("minilm-emotion"), TextExtractor("minilm")
    assert (tuned.dim, tuned.pooling, tuned.cleaning) == (384, "mean", "quotes")
    assert tuned.fingerprint["weights"] == plain.fingerprint["weights"]
    assert tuned.fingerprint["options"]["delta"] == sha256_of(DELTAS["minilm-emotion"])
    assert DELTAS["minilm-emotion"].stat().st_size < 6_000_000
    rows = tuned.extract(TEXTS)
    assert np.abs(rows - plain.extract(TEXTS)).max() > 0.05
    np.testing.assert_allclose(
        np.concatenate([tuned.extract([text]) for text in TEXTS]), rows, atol=1e-5
    )
    happy, glad, angry = tuned.extract(
        ["That's wonderful!", "I'm so happy for you!", "Get out! I hate you!"]
    )
    assert cosine(happy, glad) > cosine(happy, angry) + 0.2


def test_quotes_are_normalised_not_removed(roberta: Path):
    assert clean_text("I’m  “fine”…\n") == 'I\'m "fine"...'
    assert clean_text("I\x92m") == "I'm"
    assert clean_text("I’m “fine”", "cosmic") == "Im fine"
    assert clean_text("Ça va très bien") == "Ça va très bien"
    extractor = TextExtractor(roberta)
    np.testing.assert_array_equal(
        extractor.extract(["I don’t know."]), extractor.extract(["I don't know."])
    )


def test_empty_text_is_named(roberta: Path):
    extractor = TextExtractor(roberta)
    with pytest.raises(MercError, match=r"text 1 is empty.*; leave it out"):
        extractor.extract(["yes", " \n", ""])
    with pytest.raises(MercError, match="list"):
        extractor.extract("yes")


def test_truncation_is_reported(roberta: Path):
    extractor = TextExtractor(roberta)
    assert extractor.longest == 64
    assert extractor.truncated(TEXTS) == [False, False, False, False, True]
    longer = extractor.extract([TEXTS[-1], TEXTS[-1] + "Never seen."])
    np.testing.assert_allclose(longer[0], longer[1], atol=1e-5)


def test_fingerprint_holds_what_changes_the_features(roberta: Path, tmp_path: Path):
    prints = {
        fingerprint_id(TextExtractor(roberta, **options).fingerprint)
        for options in ({}, {"layers": "last4"}, {"cleaning": "cosmic"}, {"precision": "bfloat16"})
    }
    assert len(prints) == 4
    one = TextExtractor(roberta, batch=7).fingerprint
    assert fingerprint_id(one) in prints  # the batch size changes nothing
    assert str(roberta) not in json.dumps(one)
    assert one["weights"] != TextExtractor("minilm").fingerprint["weights"]


def test_unusable_checkpoints_are_refused(
    roberta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(MercError, match="layers"):
        TextExtractor(roberta, layers="first")
    with pytest.raises(MercError, match="no such folder"):
        TextExtractor(tmp_path / "nowhere")
    with pytest.raises(MercError, match=r"no config\.json; use a folder"):
        TextExtractor(tmp_path)

    def copy(name: str, skip: str = "") -> Path:
        target = tmp_path / name
        target.mkdir()
        for file in roberta.iterdir():
            if file.name != skip:
                (target / file.name).write_bytes(file.read_bytes())
        return target

    pickled = copy("pickled", skip="model.safetensors")
    (pickled / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(MercError, match=r"Pickled.*; convert them"):
        TextExtractor(pickled)
    coded = copy("coded")
    config = json.loads((coded / "config.json").read_text())
    (coded / "config.json").write_text(
        json.dumps(config | {"auto_map": {"AutoModel": "evil.Model"}})
    )
    with pytest.raises(MercError, match=r"own code.*use an encoder that transformers supports"):
        TextExtractor(coded)
    deeper = copy("deeper")
    (deeper / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 7}))
    with pytest.raises(MercError, match="lacks weights"):
        TextExtractor(deeper).extract(["a"])
    damaged = copy("damaged")
    (damaged / "model.safetensors").write_bytes((roberta / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(MercError, match="not a text encoder"):
        TextExtractor(damaged).extract(["a"])
    decoder = copy("decoder", skip="model.safetensors")
    BartModel(
        BartConfig(
            vocab_size=50,
            d_model=16,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=16,
            decoder_ffn_dim=16,
        )
    ).save_pretrained(decoder)
    with pytest.raises(MercError, match="decoder"):
        TextExtractor(decoder)


def test_roberta_large_offline_names_both_remedies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MercError, match=r"connect to the network.*--profile offline"):
        TextExtractor("roberta-large")


def test_threads_change_no_byte():
    encoder = TextExtractor("minilm")
    batches = (["no"], ["dog dog dog"], ["dog"] * 3, ["what is this " * 9] * 30)

    def encode() -> bytes:
        return b"".join(encoder.extract(texts).tobytes() for texts in batches)

    assert len(set(with_threads(encode))) == 1
