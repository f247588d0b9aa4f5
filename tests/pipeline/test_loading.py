"""Load tables, published files and raw releases with one function."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.imports import run_alone
from support.releases import build_meld

from pipeline.core.errors import MercError, UsageError
from pipeline.corpora import find_source
from pipeline.corpora.synthetic import make_synthetic
from pipeline.corpora.table import save_table
from pipeline.loading import ReleaseOptions, load, load_corpus


def test_options_are_named_as_on_the_command_line() -> None:
    assert ReleaseOptions().given == []
    options = ReleaseOptions("offline", "minilm", Path("store"), 2)
    assert options.given == ["--profile", "--text-model", "--store", "--jobs"]


def test_a_table_is_loaded_without_decoders_and_extractors(tmp_path: Path) -> None:
    save_table(make_synthetic(2, 1, 1, 4), tmp_path / "table")
    _, modules = run_alone(
        "from pipeline.loading import load_corpus; "
        f"corpus = load_corpus({str(tmp_path / 'table')!r}); "
        "assert corpus.settings.endswith('table') and len(corpus.dialogues) == 4"
    )
    assert not {"av", "torch", "transformers", "extractors", "pipeline.features"} & modules


def test_options_of_releases_are_refused_for_other_sources() -> None:
    source = find_source("synthetic")
    loaded = load(source)
    assert loaded.release is None and loaded.corpus.settings == "synthetic"
    with pytest.raises(UsageError, match=r"--profile, --jobs: only for a raw release") as refused:
        load(source, release=ReleaseOptions(profile="offline", jobs=1))
    assert refused.value.remedy == "omit these options"


def test_a_release_is_extracted_once(shared: Path, tmp_path: Path, monkeypatch) -> None:
    root = tmp_path / "MELD.Raw"
    build_meld(root, shared, {"train": [48], "dev": [], "test": []}, 1.0)
    source = find_source("meld", root)
    options = ReleaseOptions(profile="offline", store=tmp_path / "store", jobs=1)
    with pytest.raises(MercError, match=r"without features; .*merc extract --dataset meld"):
        load(source, release=None)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(MercError, match=r"torchrun; extract first"):
        load(source, release=options)
    monkeypatch.delenv("WORLD_SIZE")
    assert not (tmp_path / "store").exists()

    loaded = load(source, release=options)
    assert loaded.release is not None and not loaded.release.nothing_done
    assert loaded.corpus.name == loaded.corpus.settings == "meld"
    assert loaded.corpus.widths == {"text": 384, "audio": 768, "visual": 342}
    again = load(source, release=options)
    assert again.release is not None and again.release.nothing_done
    corpus = load_corpus("meld", root, release=options)
    for d, same in zip(loaded.corpus.dialogues, corpus.dialogues, strict=True):
        for modality, rows in d.features.items():
            assert np.array_equal(rows, same.features[modality], equal_nan=True)
