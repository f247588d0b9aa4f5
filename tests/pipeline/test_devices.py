"""Features, labels and training are the same on every device that torch can use here."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from support.devices import DEVICES, features_on, make_run
from support.releases import small_roberta
from support.training import tiny

from pipeline.corpora.synthetic import make_synthetic
from pipeline.labelling import Labeller
from pipeline.training.fit import fit
from pipeline.training.predictor import Predictor
from pipeline.training.protocols import split_corpus

LINES = ["bin blue at f two now", "Oh no! Really?"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    return small_roberta(tmp_path_factory.mktemp("encoder"), LINES)


@pytest.fixture(scope="module")
def clip(media, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "talk.mpg"
    shutil.copy(media / "grid" / "bbaf2n.mpg", path)
    rows = [f"0.2,1.5,Ann,{LINES[0]}", f'1.5,2.8,Bo,"{LINES[1]}"']
    path.with_suffix(".csv").write_text("start,end,speaker,text\n" + "\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize("device", DEVICES)
def test_features_and_labels(device: str, clip: Path, encoder: Path, tmp_path: Path) -> None:
    expected = features_on("cpu", clip, encoder)
    actual = features_on(device, clip, encoder) if device != "cpu" else expected
    for modality, rows in expected.features.items():
        assert np.isfinite(rows).all()
        scale = np.abs(rows).max()
        assert np.abs(actual.features[modality] - rows).max() < 1e-4 * scale, modality

    run = make_run(tmp_path / "run.safetensors", expected, encoder)
    one, other = (
        Labeller(run, device=name, text_model=encoder).label(clip).utterances
        for name in ("cpu", device)
    )
    assert [u["emotion"] for u in one] == [u["emotion"] for u in other]
    for a, b in zip(one, other, strict=True):
        assert a["probabilities"] == pytest.approx(b["probabilities"], abs=1e-3)


@pytest.mark.parametrize("device", DEVICES)
def test_a_model_trained_on_it_is_used_anywhere(device: str, tmp_path: Path) -> None:
    corpus = make_synthetic(12, 4, 4, 5)
    config = tiny(f"train.device={device}", "train.average=0.9", "train.bf16=no")
    parts = split_corpus(corpus, config.data, "clean")
    fit(parts, config, 0, tmp_path)
    one, other = (Predictor.load(tmp_path, name) for name in ("cpu", device))
    for dialogue in corpus.split("test"):
        assert one.probabilities(dialogue) == pytest.approx(other.probabilities(dialogue), abs=1e-4)
