"""Stores of older formats, of newer ones, with waste and with damage."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.core.dialogue import Segmentation, Utterance
from pipeline.core.errors import MercError, UsageError
from pipeline.core.fingerprints import fingerprint_id
from pipeline.features.store import Features, Store
from pipeline.features.store_format import FORMAT, FORMAT_FILE, check_format, migrate
from pipeline.features.store_upkeep import collect_garbage, prepare_store, repair, stats

RECORDINGS = ["ab" * 32, "cd" * 32]
UTTERANCES = [Utterance(0.0, 1.0, "Hi."), Utterance(1.0, 2.0, "Oh?")]


def source(version: int = 1) -> dict[str, Any]:
    return {"kind": "recognition", "version": version}


def write(store: Store, recording: str, extractor: str = "one", version: int = 1) -> list[Path]:
    """Write utterances, and features of two of which one is missing; return the paths."""
    segmentation = Segmentation(UTTERANCES, source(version))
    vectors = np.array([[1, 2, 3], [np.nan] * 3], np.float32)
    fingerprint = {"extractor": {"extractor": extractor}, "segmentation": source(version)}
    quality: list[dict[str, Any]] = [{}, {}]
    features = Features(recording, "audio", fingerprint, UTTERANCES, vectors, quality)
    store.add_name(recording, f"{recording[:2]}.mp4")
    return [
        store.write_segmentation(recording, {"version": version}, segmentation),
        store.write(features),
    ]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = prepare_store(tmp_path / "store")
    for recording in RECORDINGS:
        write(store, recording)
    return store


def content(store: Store) -> dict[str, bytes]:
    return {
        str(path.relative_to(store.root)): path.read_bytes()
        for path in store.root.rglob("*")
        if path.is_file()
    }


def test_an_old_store_is_brought_up_to_date(store: Store) -> None:
    new = content(store)
    (store.root / FORMAT_FILE).unlink()
    for recording in RECORDINGS:
        (path,) = store.name_files(recording)
        path.rename(path.with_name("old"))  # the name file as format 1 had it
        path.with_name("names.json").write_text(json.dumps([f"{recording[:2]}.mp4"]) + "\n")
        path.with_name("old").unlink()
    assert check_format(store.root) == 1
    assert store.names(RECORDINGS[0]) == ["ab.mp4"] and not store.verify()[1]
    store.split_names(RECORDINGS[0])  # a migration that was killed
    assert migrate(store) == 1
    assert content(store) == new and migrate(store) == 0


def test_a_newer_store_is_refused(store: Store) -> None:
    for text, message in (
        (json.dumps({"format": FORMAT + 1}), "install a newer merc"),
        ("{", "damaged"),
        ('{"format": "2"}', "newer"),
    ):
        (store.root / FORMAT_FILE).write_text(text)
        with pytest.raises(MercError, match=message):
            prepare_store(store.root)
        shown = CliRunner().invoke(app, ["store", "ls", str(store.root)])
        assert shown.exit_code == 2


def test_a_new_store_has_no_file_before_the_first_write(tmp_path: Path) -> None:
    assert check_format(tmp_path / "none") == FORMAT and not (tmp_path / "none").exists()


def test_names_of_many_writers(store: Store) -> None:
    for name in ("b.mp4", "a.mp4", "b.mp4"):
        store.add_name(RECORDINGS[0], name)
    assert store.names(RECORDINGS[0]) == ["a.mp4", "ab.mp4", "b.mp4"]
    assert len(store.name_files(RECORDINGS[0])) == 3


def test_stats(store: Store) -> None:
    write(store, RECORDINGS[0], "two")
    found = stats(store)
    sizes = [path.stat().st_size for path in store.root.rglob("*") if path.is_file()]
    assert found["bytes"] == sum(sizes) - (store.root / FORMAT_FILE).stat().st_size
    assert (found["recordings"], found["utterances"], found["damaged"]) == (2, 4, 0)
    rows = {row["extractor"]: row for row in found["extractors"].values()}
    assert (rows["one"]["recordings"], rows["one"]["features"], rows["one"]["missing"]) == (2, 2, 2)
    assert rows["two"]["recordings"] == 1 and rows["two"]["width"] == 3
    shown = CliRunner().invoke(app, ["store", "stats", str(store.root)])
    assert shown.exit_code == 0 and "2 recordings, 4 utterances" in shown.output


def test_repair_leaves_what_is_sound(store: Store) -> None:
    sound = content(store)
    segments, features = write(store, RECORDINGS[0])
    features.write_bytes(features.read_bytes()[:-1])
    command = ["store", "verify", str(store.root)]
    assert CliRunner().invoke(app, command).exit_code == 1 and features.exists()
    assert CliRunner().invoke(app, [*command, "--repair"]).exit_code == 0
    assert not features.exists() and segments.exists()
    assert store.verify()[1] == [] and repair(store)[1] == []
    write(store, RECORDINGS[0])
    assert content(store) == sound


def test_garbage(store: Store) -> None:
    sound = content(store)
    assert collect_garbage(store) == ([], 0) and content(store) == sound

    unused, newer = write(store, RECORDINGS[0], version=2)
    newer.unlink()  # utterances that no features were made from
    orphan = write(store, RECORDINGS[1], version=3)
    orphan[0].unlink()  # features whose utterances are gone
    damaged = store.folder("ef" * 32) / "segments-00.json"
    damaged.parent.mkdir(parents=True)
    damaged.write_text("{")
    expected = [unused, orphan[1]]
    size = sum(path.stat().st_size for path in expected)
    assert collect_garbage(store, dry_run=True) == (expected, size)
    assert all(path.exists() for path in expected)
    assert collect_garbage(store) == (expected, size)
    assert damaged.exists()
    damaged.unlink()
    collect_garbage(store)
    assert content(store) == sound and not damaged.parent.exists()


def test_what_an_extractor_or_a_segmentation_made_can_be_removed(store: Store) -> None:
    sound = content(store)
    two = write(store, RECORDINGS[0], "two")[1]
    assert collect_garbage(store, [fingerprint_id({"extractor": "two"})[:6]])[0] == [two]
    assert content(store) == sound
    everything = collect_garbage(store, [fingerprint_id(source())])[0]
    assert len(everything) == 4 and list(store.recordings()) == []
    for bad in ("12345", "123456"):
        with pytest.raises(UsageError, match="--remove"):
            collect_garbage(store, [bad])


def test_what_killed_processes_left_is_garbage(store: Store) -> None:
    sound = content(store)
    (store.folder(RECORDINGS[0]) / f".merc-{2**22 + os.getpid()}-abc.tmp").touch()
    (store.root / ".claims").mkdir()
    (store.root / ".claims" / RECORDINGS[0]).touch()
    collect_garbage(store)
    assert content(store) == sound and not (store.root / ".claims").exists()
