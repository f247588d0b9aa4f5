"""The store: equal content gives equal bytes, any damage is detected, exports read back equal."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.paths import ROOT

from pipeline.core.dialogue import Segmentation, Utterance
from pipeline.core.errors import MercError, MercWarning
from pipeline.core.fingerprints import fingerprint_id, sha256_of
from pipeline.corpora.table import load_table
from pipeline.features.store import BAD_CONTENT, DamagedError, Features, Store, default_store
from pipeline.features.store_export import IncompleteError, collect, export

CHECKSUM = "ab" * 32
FEATURES_SHA256 = "7f20261341ae62e68225edbbeb81191568c0c8f6d65703638f8169ff1ec4aecd"
SEGMENTS_SHA256 = "98f70da3fae4df5c4c4bd38b5899d220814b87a29ff19e43afbbadf2e8c5939c"
WRITE_IN_ANOTHER_PROCESS = """
import sys
sys.path[:0] = [".", "tests", "tests/pipeline/features"]
from pathlib import Path
import test_store
test_store.Store(Path(sys.argv[1])).write(test_store.features())
"""


def features(
    seed=0, n=5, width=7, recording=CHECKSUM, modality="audio", extractor="x", source="recognition"
):
    vectors = np.random.default_rng(seed).standard_normal((n, width)).astype(np.float32)
    vectors[1::3] = np.nan
    utterances = [Utterance(k + 0.1, k + 0.7, f"said “{k}” ☃", f"S{k % 2}") for k in range(n)]
    quality = [
        {"present": bool(np.isfinite(row).all()), "frames": k} for k, row in enumerate(vectors)
    ]
    fingerprint = {
        "segmentation": {"kind": source},
        "extractor": {"extractor": extractor, "options": {"b": 1, "a": 2}},
    }
    return Features(recording, modality, fingerprint, utterances, vectors, quality)


def test_reads_what_was_written(tmp_path):
    store, written = Store(tmp_path), features()
    assert store.read(CHECKSUM, "audio", written.fingerprint) is None
    path = store.write(written)
    assert path == tmp_path / "ab" / CHECKSUM / f"audio-{written.id}.safetensors"
    read = store.read(CHECKSUM, "audio", written.fingerprint)
    assert read.utterances == written.utterances
    assert read.quality == written.quality and read.fingerprint == written.fingerprint
    np.testing.assert_array_equal(read.vectors, written.vectors)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == [path.name]
    empty = features(n=0)
    store.write(empty)
    assert store.read(CHECKSUM, "audio", empty.fingerprint).vectors.shape == (0, 7)


def test_equal_content_gives_equal_bytes_in_any_process(tmp_path):
    for name, seed in (("one", "1"), ("two", "2")):
        subprocess.run(
            [sys.executable, "-c", WRITE_IN_ANOTHER_PROCESS, str(tmp_path / name)],
            cwd=ROOT,
            check=True,
            env={"PYTHONHASHSEED": seed},
        )
    one, two = (next((tmp_path / name).rglob("*.safetensors")) for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes() and str(tmp_path).encode() not in one.read_bytes()
    other_order = {
        "extractor": {"options": {"a": 2, "b": 1}, "extractor": "x"},
        "segmentation": {"kind": "recognition"},
    }
    assert fingerprint_id(other_order) == features().id
    assert features(extractor="y").id != features().id != features(source="transcript").id


def test_files_are_those_of_earlier_versions(tmp_path):
    """Another name, content or checksum would invalidate the stores that are in use."""
    store, template = Store(tmp_path), features()
    vectors = np.arange(35, dtype=np.float32).reshape(5, 7)
    vectors[1::3] = np.nan
    path = store.write(replace(template, vectors=vectors))
    assert path.name == "audio-a4cbc88d5a61f106.safetensors"
    assert sha256_of(path) == FEATURES_SHA256
    warnings = [MercWarning("talk.mp4", "approximate")]
    segmentation = Segmentation([Utterance(0, 1.5, "a", "S1")], {"kind": "recognition"}, warnings)
    path = store.write_segmentation(CHECKSUM, {"speakers": 2, "transcript": None}, segmentation)
    assert path.name == "segments-89a2e781ea5cc720.json"
    assert sha256_of(path) == SEGMENTS_SHA256


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damage_anywhere_is_detected(tmp_path_factory, data):
    store = Store(tmp_path_factory.mktemp("store"))
    path = store.write(features())
    whole = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del whole[data.draw(st.integers(0, len(whole) - 1)) :]
    path.write_bytes(whole)
    with pytest.raises(DamagedError) as caught:
        store.load(path)
    assert "merc extract" in caught.value.remedy


def test_damage_that_leaves_the_meaning_of_json_is_detected(tmp_path):
    store = Store(tmp_path)
    utterances = [Utterance(0.1, 0.30000000000000004, "é", "S"), Utterance(1, 2, "", "T")]
    quality = [{"present": True, "level": 1e-05}, {"present": False, "reason": "é"}]
    made = replace(features(n=2, width=2), utterances=utterances, quality=quality)
    segmentation = Segmentation(utterances, {"kind": "recognition", "level": 1e-05}, [])
    store.add_name(CHECKSUM, "é.mp4")
    one, digit = (b"1e-05", b"1E-05"), (b"0.30000000000000004", b"0.30000000000000005")
    end, escape = (b"\n", b""), (b"\\u00e9", b"\\u00E9")
    files = (
        (store.write(made), store.load, (one, digit)),
        (
            store.write_segmentation(CHECKSUM, {"speakers": 2}, segmentation),
            store.load_segmentation,
            (one, digit, end),
        ),
        (store.name_files(CHECKSUM)[0], store._load_names, (escape, end)),
    )
    for path, load, damages in files:
        whole = path.read_bytes()
        load(path)
        for written, damaged in damages:
            assert whole.count(written) == 1
            path.write_bytes(whole.replace(written, damaged))
            with pytest.raises(BAD_CONTENT):
                load(path)


def test_misplaced_and_invalid_features(tmp_path):
    store = Store(tmp_path)
    path = store.write(features())
    other = path.with_name("visual-0123456789abcdef.safetensors")
    other.write_bytes(path.read_bytes())
    with pytest.raises(DamagedError, match="not in its place"):
        store.load(other)
    vectors = features().vectors.copy()
    vectors[0, 0] = np.inf
    with pytest.raises(MercError, match="infinite"):
        store.write(
            Features(CHECKSUM, "audio", {}, features().utterances, vectors, features().quality)
        )


def test_segmentations(tmp_path):
    store, request = Store(tmp_path), {"speakers": 2, "transcript": None}
    source = {"kind": "recognition"}
    utterances, text = features().utterances, "speakers are approximate"
    written = Segmentation(utterances, source, [MercWarning("talk.mp4", text)])
    assert store.read_segmentation(CHECKSUM, request) is None
    path = store.write_segmentation(CHECKSUM, request, written)
    assert store.read_segmentation(CHECKSUM, request, "talk.mp4") == written
    # the same recording under another name: the warning is about that file
    copy = store.read_segmentation(CHECKSUM, request, "copy.mp4")
    assert copy.warnings == [MercWarning("copy.mp4", text)]
    assert "talk.mp4" not in path.read_text()
    assert store.read_segmentation(CHECKSUM, request | {"speakers": 3}) is None
    content = json.loads(path.read_text())
    content["utterances"][0][2] = "changed"
    path.write_text(json.dumps(content))
    with pytest.raises(DamagedError):
        store.read_segmentation(CHECKSUM, request)


def filled(root, **more):
    """A store of two recordings; the second has no text features."""
    store = Store(root)
    for index, recording in enumerate(("ab" * 32, "cd" * 32)):
        for modality, width in (("text", 4), ("audio", 6)):
            if (index, modality) != (1, "text"):
                store.write(
                    features(index, 3 + index, width, recording, modality, f"x-{modality}", **more)
                )
        store.add_name(recording, f"clip{index}.mp4")
    return store


def test_export_to_a_table_and_parquet(tmp_path):
    store = filled(tmp_path / "s")
    export(store, tmp_path / "t")
    corpus = load_table(tmp_path / "t")
    assert [d.id for d in corpus.dialogues] == ["clip0", "clip1"]
    assert corpus.widths == {"text": 4, "audio": 6}
    assert all((d.labels == -1).all() for d in corpus.dialogues)
    assert corpus.fingerprints["audio"] == features(extractor="x-audio").fingerprint["extractor"]
    np.testing.assert_array_equal(corpus.dialogues[0].features["text"], features(0, 3, 4).vectors)
    assert np.isnan(corpus.dialogues[1].features["text"]).all()
    with pytest.raises(MercError) as caught:
        export(store, tmp_path / "t")
    assert "utterances.csv: exists" in caught.value.reason
    assert "--overwrite" in caught.value.remedy
    export(store, tmp_path / "t", overwrite=True)
    export(store, tmp_path / "p", "parquet")
    table = pandas.read_parquet(tmp_path / "p" / "utterances.parquet")
    assert table.text.tolist() == [t for d in corpus.dialogues for t in d.texts]
    audio = corpus.dialogues[0].features["audio"]
    np.testing.assert_array_equal(np.stack(table.audio_features[0]), audio[0])
    assert table.audio_features.isna().tolist()[:3] == np.isnan(audio).all(1).tolist()
    with pytest.raises(MercError, match="--format xlsx"):
        export(store, tmp_path / "x", "xlsx")


def test_export_refuses_an_ambiguous_choice(tmp_path):
    store = filled(tmp_path / "s")
    second = features(5, 3, 9, "ab" * 32, "text", "z-text")
    store.write(second)
    with pytest.raises(MercError, match="2 kinds of text"):
        collect(store)
    chosen = collect(store, [fingerprint_id(second.fingerprint["extractor"])[:6]])
    assert chosen.widths["text"] == 9
    store.write(features(6, 4, 6, "ab" * 32, "audio", "x-audio", source="transcript"))
    with pytest.raises(MercError, match="2 segmentations") as caught:
        collect(store, [second.id])
    assert "--fingerprint" in caught.value.remedy
    assert len(collect(store, [second.id, fingerprint_id({"kind": "recognition"})]).dialogues) == 2
    with pytest.raises(MercError, match="merc extract"):
        collect(Store(tmp_path / "none"))


def test_an_incomplete_recording_is_named_and_not_exported_as_missing(tmp_path):
    store = filled(tmp_path / "s")
    names = [store.name_files(recording)[0] for recording in ("ab" * 32, "cd" * 32)]
    collect(store)  # no utterances are stored, as of a raw release: it may have texts alone
    utterances = Segmentation([], {"kind": "recognition"}, [])
    for recording in ("ab" * 32, "cd" * 32):
        store.write_segmentation(recording, {}, utterances)

    def refused(*lines):
        with pytest.raises(IncompleteError) as caught:
            export(store, tmp_path / "t")
        assert "run merc extract again" in caught.value.remedy and not (tmp_path / "t").exists()
        assert caught.value.remedy.splitlines()[1:] == [f"  {line}" for line in lines]

    refused("clip1.mp4 lacks text features")
    names[0].write_text("damaged")
    refused(f"{'ab' * 8} lacks a file name", "clip1.mp4 lacks text features")
    store.add_name("ab" * 32, "clip0.mp4")
    store.files("cd" * 32)[0].unlink()
    refused("clip1.mp4 lacks text features, audio features")
    corpus, notes = export(store, tmp_path / "t", incomplete=True)
    assert [d.id for d in corpus.dialogues] == ["clip0"]
    assert notes == ["Incomplete in the store: clip1.mp4 lacks text features, audio features."]
    store.files("ab" * 32)[-1].unlink()  # extracted with --modality audio
    store.write(features(1, 4, 6, "cd" * 32, "audio", "x-audio"))
    assert len(collect(store).dialogues) == 2


def test_two_recordings_with_the_same_name(tmp_path):
    store = Store(tmp_path)
    for recording in ("ab" * 32, "cd" * 32):
        store.write(features(recording=recording))
        store.add_name(recording, "clip.mp4")
    assert [d.id for d in collect(store).dialogues] == ["clip-abababab", "clip-cdcdcdcd"]


def test_default_store(monkeypatch, tmp_path):
    monkeypatch.setenv("MERC_STORE", str(tmp_path))
    assert default_store() == tmp_path
    monkeypatch.delenv("MERC_STORE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert default_store() == tmp_path / "cache" / "merc" / "store"


def with_segments(root):
    """A store of one recording with utterances, audio features and a name."""
    store, source = Store(root), {"kind": "recognition"}
    segmentation = Segmentation(features().utterances, source, [])
    paths = {
        "segments": store.write_segmentation(CHECKSUM, {"speakers": 2}, segmentation),
        "features": store.write(features()),
    }
    store.add_name(CHECKSUM, "talk.mp4")
    return store, paths | {"names": store.name_files(CHECKSUM)[0]}


def replace_by_folder(path):
    path.unlink()
    (path / "sub").mkdir(parents=True)


@pytest.mark.parametrize("which", ["segments", "features", "names"])
@pytest.mark.parametrize(
    "damage",
    [lambda path: path.write_bytes(path.read_bytes()[:-3]), replace_by_folder],
    ids=["truncated", "folder"],
)
def test_verify_names_every_fault_and_writing_repairs_it(tmp_path, which, damage):
    store, paths = with_segments(tmp_path)
    before = {path: path.read_bytes() for path in paths.values()}
    assert store.verify() == (3, [])
    damage(paths[which])
    checked, faults = store.verify()
    assert checked == 3 and paths[which] in [path for path, _ in faults]
    assert all("merc extract" in reason for _, reason in faults)
    with_segments(tmp_path)
    assert store.verify() == (3, [])
    assert {path: path.read_bytes() for path in paths.values()} == before


def test_verify_misses_deleted_utterances(tmp_path):
    store, paths = with_segments(tmp_path)
    paths["segments"].unlink()
    checked, faults = store.verify()
    assert checked == 2 and [path for path, _ in faults] == [paths["features"]]
    assert "utterances" in faults[0][1]


@pytest.mark.parametrize("level", [1, 2])
def test_a_file_in_place_of_a_folder_is_repaired(tmp_path, level):
    store, paths = with_segments(tmp_path)
    folder = paths["names"].parents[level - 1]
    shutil.rmtree(folder)
    folder.write_text("x")
    checked, faults = store.verify()
    assert checked == 1 and faults[0][0] == folder
    with_segments(tmp_path)
    assert store.verify() == (3, [])


@pytest.mark.parametrize("text", ["[" * 100_000, "5", "{}", '{"checksum": 1}', "null", "[1]"])
def test_json_of_another_shape_is_damage(tmp_path, text):
    store, paths = with_segments(tmp_path)
    for name in ("segments", "names"):
        paths[name].write_text(text)
    assert {paths["segments"], paths["names"]} <= {path for path, _ in store.verify()[1]}
    assert store.names(CHECKSUM) == []


def test_temporary_files_in_a_store_are_removed(tmp_path):
    store, paths = with_segments(tmp_path)
    left = paths["names"].with_name(".merc-999999999-ab12.tmp")
    in_root = store.root / left.name
    for path in (left, in_root):
        path.touch()
    assert store.remove_stale() == [in_root, left] and not left.exists()
