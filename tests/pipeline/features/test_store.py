"""The store: same content same bytes, damage is found wherever it is, exports read back equal."""

import json
import subprocess
import sys

import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.paths import ROOT

from pipeline.core.dialogue import Segmentation, Utterance
from pipeline.core.fingerprints import fingerprint_id
from pipeline.corpora.table import load_table
from pipeline.features.store import DamagedError, Features, Store, default_store
from pipeline.features.store_export import collect, export

MEDIUM = "ab" * 32


def features(
    seed=0, n=5, width=7, medium=MEDIUM, modality="audio", extractor="x", source="recognition"
):
    chance = np.random.default_rng(seed)
    vectors = chance.standard_normal((n, width)).astype(np.float32)
    vectors[1::3] = np.nan
    said = [Utterance(k + 0.1, k + 0.7, f"said “{k}” ☃", f"S{k % 2}") for k in range(n)]
    quality = [
        {"present": bool(np.isfinite(row).all()), "frames": k} for k, row in enumerate(vectors)
    ]
    fingerprint = {
        "segmentation": {"kind": source},
        "extractor": {"extractor": extractor, "options": {"b": 1, "a": 2}},
    }
    return Features(medium, modality, fingerprint, said, vectors, quality)


def test_reads_what_was_written(tmp_path):
    store, made = Store(tmp_path), features()
    assert store.read(MEDIUM, "audio", made.fingerprint) is None
    path = store.write(made)
    assert path == tmp_path / "ab" / MEDIUM / f"audio-{made.id}.safetensors"
    kept = store.read(MEDIUM, "audio", made.fingerprint)
    assert (
        kept.utterances == made.utterances
        and kept.quality == made.quality
        and kept.fingerprint == made.fingerprint
    )
    np.testing.assert_array_equal(kept.vectors, made.vectors)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == [path.name]
    empty = features(n=0)
    store.write(empty)
    assert store.read(MEDIUM, "audio", empty.fingerprint).vectors.shape == (0, 7)


def test_same_content_same_bytes_in_any_process(tmp_path):
    code = (
        "import sys; sys.path[:0] = ['.', 'tests', 'tests/pipeline/features']; from pathlib import Path; import test_store as t\n"
        "t.Store(Path(sys.argv[1])).write(t.features())"
    )
    for name, seed in (("one", "1"), ("two", "2")):
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / name)],
            cwd=ROOT,
            check=True,
            env={"PYTHONHASHSEED": seed},
        )
    one, two = (next((tmp_path / name).rglob("*.safetensors")) for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes() and str(tmp_path).encode() not in one.read_bytes()
    swapped = {
        "extractor": {"options": {"a": 2, "b": 1}, "extractor": "x"},
        "segmentation": {"kind": "recognition"},
    }
    assert fingerprint_id(swapped) == features().id  # order of keys is nothing
    assert features(extractor="y").id != features().id != features(source="transcript").id


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damage_anywhere_is_found(tmp_path_factory, data):
    store = Store(tmp_path_factory.mktemp("store"))
    path = store.write(features())
    whole = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del whole[data.draw(st.integers(0, len(whole) - 1)) :]
    path.write_bytes(whole)
    with pytest.raises(DamagedError, match="merc extract"):
        store.load(path)


def test_misplaced_and_wrong_files(tmp_path):
    store = Store(tmp_path)
    path = store.write(features())
    other = path.with_name("visual-0123456789abcdef.safetensors")
    other.write_bytes(path.read_bytes())
    with pytest.raises(DamagedError, match="not in its place"):
        store.load(other)
    vectors = features().vectors.copy()
    vectors[0, 0] = np.inf
    with pytest.raises(ValueError, match="infinite"):
        store.write(
            Features(MEDIUM, "audio", {}, features().utterances, vectors, features().quality)
        )


def test_segments(tmp_path):
    store, request = Store(tmp_path), {"speakers": 2, "transcript": None}
    found = Segmentation(features().utterances, {"kind": "recognition"}, ["approximate"])
    assert store.read_segmentation(MEDIUM, request) is None
    path = store.write_segmentation(MEDIUM, request, found)
    assert store.read_segmentation(MEDIUM, request) == found
    assert store.read_segmentation(MEDIUM, request | {"speakers": 3}) is None
    content = json.loads(path.read_text())
    content["utterances"][0][2] = "changed"
    path.write_text(json.dumps(content))
    with pytest.raises(DamagedError):
        store.read_segmentation(MEDIUM, request)


def filled(root, **more):
    store = Store(root)
    for index, medium in enumerate(("ab" * 32, "cd" * 32)):
        for modality, width in (("text", 4), ("audio", 6)):
            if (index, modality) != (1, "text"):
                store.write(
                    features(index, 3 + index, width, medium, modality, f"x-{modality}", **more)
                )
        store.note_name(medium, f"clip{index}.mp4")
    return store


def test_export_to_a_table_and_parquet(tmp_path):
    store = filled(tmp_path / "s")
    export(store, tmp_path / "t")
    corpus = load_table(tmp_path / "t")
    assert [d.id for d in corpus.dialogues] == ["clip0", "clip1"] and corpus.widths == {
        "text": 4,
        "audio": 6,
    }
    assert all((d.labels == -1).all() for d in corpus.dialogues)
    assert corpus.fingerprints["audio"] == features(extractor="x-audio").fingerprint["extractor"]
    np.testing.assert_array_equal(corpus.dialogues[0].features["text"], features(0, 3, 4).vectors)
    assert np.isnan(corpus.dialogues[1].features["text"]).all()
    with pytest.raises(FileExistsError, match="--overwrite"):
        export(store, tmp_path / "t")
    export(store, tmp_path / "t", overwrite=True)
    export(store, tmp_path / "p", "parquet")
    table = pandas.read_parquet(tmp_path / "p" / "utterances.parquet")
    assert table.text.tolist() == [t for d in corpus.dialogues for t in d.texts]
    audio = corpus.dialogues[0].features["audio"]
    np.testing.assert_array_equal(np.stack(table.audio_features[0]), audio[0])
    assert table.audio_features.isna().tolist()[:3] == np.isnan(audio).all(1).tolist()


def test_export_asks_where_the_choice_is_open(tmp_path):
    store = filled(tmp_path / "s")
    second = features(5, 3, 9, "ab" * 32, "text", "z-text")
    store.write(second)
    with pytest.raises(ValueError, match="2 kinds of text"):
        collect(store)
    chosen = collect(store, [fingerprint_id(second.fingerprint["extractor"])[:6]])
    assert chosen.widths["text"] == 9
    store.write(features(6, 4, 6, "ab" * 32, "audio", "x-audio", source="transcript"))
    with pytest.raises(ValueError, match="2 ways"):
        collect(store, [second.id])
    assert len(collect(store, [second.id, fingerprint_id({"kind": "recognition"})]).dialogues) == 2
    with pytest.raises(ValueError, match="merc extract"):
        collect(Store(tmp_path / "none"))


def test_two_media_of_one_name(tmp_path):
    store = Store(tmp_path)
    for medium in ("ab" * 32, "cd" * 32):
        store.write(features(medium=medium))
        store.note_name(medium, "clip.mp4")
    assert [d.id for d in collect(store).dialogues] == ["clip-abababab", "clip-cdcdcdcd"]


def test_default_place(monkeypatch, tmp_path):
    monkeypatch.setenv("MERC_STORE", str(tmp_path))
    assert default_store() == tmp_path
    monkeypatch.delenv("MERC_STORE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert default_store() == tmp_path / "cache" / "merc" / "store"
