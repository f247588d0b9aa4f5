"""The encoder without its decoder computes the same states, and other formats are refused."""

from __future__ import annotations

from pathlib import Path

import ctranslate2
import numpy as np
import pytest

from extractors.speech import encoder_folder
from extractors.whisper_encoder import load_encoder

OPTIONS = {"device": "cpu", "compute_type": "float32", "intra_threads": 1}


def test_states_equal_those_of_the_whole_model():
    whole = ctranslate2.models.Whisper(str(encoder_folder()), **OPTIONS)
    encoder = load_encoder(encoder_folder(), **OPTIONS)
    random = np.random.default_rng(0)
    for columns in (10, 400, 3000):
        mel = random.normal(size=(1, 80, columns)).astype(np.float32)
        expected, actual = (
            np.array(model.encode(ctranslate2.StorageView.from_array(mel)))
            for model in (whole, encoder)
        )
        assert np.array_equal(actual, expected)


def test_another_format_is_refused(tmp_path: Path):
    for name in ("config.json", "vocabulary.txt"):
        (tmp_path / name).write_bytes((encoder_folder() / name).read_bytes())
    (tmp_path / "model.bin").write_bytes(bytes(100))
    with pytest.raises(ValueError, match="format"):
        load_encoder(tmp_path, **OPTIONS)
