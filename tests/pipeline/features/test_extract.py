"""Extraction of real clips into a store: done once, repeatable to the byte, one bad input stops no other."""

import csv
import json
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.cli.extract import run
from pipeline.core.errors import UsageError
from pipeline.core.files import write_bytes
from pipeline.features.extract import ExtractOptions, extract
from pipeline.features.profiles import ExtractorOptions, build_extractors, options_of
from pipeline.features.store import Store

SAID = "start,end,speaker,text\n0.4,1.5,Ann,bin blue at f\n1.5,2.8,Bo,two now\n2.8,2.83,Ann,oh\n"
SOUND = ExtractOptions("offline", modalities=("audio",))


@pytest.fixture(scope="module")
def clips(media, tmp_path_factory) -> Path:
    """Two real clips with transcripts, under names that trip careless programs."""
    folder = tmp_path_factory.mktemp("clips") / "my vidéos"
    (folder / "deep").mkdir(parents=True)
    for source, name in (("bbaf2n.mpg", "-first clip.mpg"), ("lrwp9a.mpg", "deep/second.mpg")):
        shutil.copy(media / "grid" / source, folder / name)
        (folder / name).with_suffix(".csv").write_text(SAID)
    return folder


def content(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def test_a_store_is_made_once_and_the_same_again(clips, tmp_path):
    options = ExtractOptions("offline", modalities=("text", "audio"))
    first = extract([clips], tmp_path / "one", options, quiet=True)
    assert not first.failures and [file.utterances for file in first.files] == [3, 3]
    assert all(
        file.done == {"utterances": "made", "text": "made", "audio": "made"} for file in first.files
    )
    assert all(
        file.present == {"text": 3, "audio": 2} for file in first.files
    )  # 30 ms hold no IS10
    before = content(tmp_path / "one")
    second = extract([clips], tmp_path / "one", options, quiet=True)
    assert second.nothing_done and content(tmp_path / "one") == before

    moved = tmp_path / "elsewhere"
    shutil.copytree(clips, moved)
    extract([moved], tmp_path / "two", options, quiet=True)
    assert content(tmp_path / "two") == before
    assert not any(str(tmp_path).encode() in data for data in before.values())

    # another option makes that modality alone anew, beside the old one
    for option, made in (
        (ExtractorOptions(audio_variant="plain"), "audio"),
        (ExtractorOptions(text_cleaning="cosmic"), "text"),
    ):
        changed = ExtractOptions("offline", option, ("text", "audio"))
        third = extract([clips / "-first clip.mpg"], tmp_path / "one", changed, quiet=True).files[0]
        assert third.done == {"utterances": "kept", "text": "kept", "audio": "kept"} | {
            made: "made"
        }
        assert before.items() < content(tmp_path / "one").items()

    # another transcript makes all anew: the old features belong to other utterances
    (moved / "deep" / "second.csv").write_text(SAID.replace("Bo", "Cy"))
    fourth = extract([moved / "deep"], tmp_path / "one", options, quiet=True).files[0]
    assert set(fourth.done.values()) == {"made"}


def test_cleaning_of_text_is_an_option_that_features_remember(tmp_path):
    extractors = {
        name: build_extractors("offline", ExtractorOptions(text_cleaning=name), ("text",))["text"]
        for name in ("quotes", "cosmic")
    }
    said = ["It\u2019s fine"]
    assert not np.allclose(extractors["quotes"].extract(said), extractors["cosmic"].extract(said))
    np.testing.assert_array_equal(
        extractors["cosmic"].extract(said), extractors["quotes"].extract(["Its fine"])
    )
    for name, extractor in extractors.items():
        assert options_of({"text": extractor.fingerprint}).text_cleaning == name
    with pytest.raises(ValueError, match="cleaning 'ascii'"):
        build_extractors("offline", ExtractorOptions(text_cleaning="ascii"), ("text",))


def test_damage_is_told_and_mended(clips, tmp_path):
    extract([clips], tmp_path, SOUND, quiet=True)
    before, store = content(tmp_path), Store(tmp_path)
    damaged = store.files(next(store.media()))[0]
    damaged.write_bytes(damaged.read_bytes()[:-5])
    next(tmp_path.rglob("segments-*")).write_text("{")
    again = extract([clips], tmp_path, SOUND, quiet=True)
    assert sorted(how for file in again.files for how in file.done.values()) == [
        "kept",
        "kept",
        "made again",
        "made again",
    ]
    assert content(tmp_path) == before


def test_features_are_those_of_the_extractor_and_times_of_the_file(clips, tmp_path):
    from extractors import AudioExtractor
    from pipeline.media.decode import open_media

    extract([clips / "deep"], tmp_path, SOUND, quiet=True)
    store = Store(tmp_path)
    kept = store.load(store.files(next(store.media()))[0])
    with open_media(clips / "deep" / "second.mpg") as media:
        np.testing.assert_array_equal(
            kept.vectors[1], AudioExtractor().extract(media.sound(1.5, 2.8), 16000)
        )
    assert np.isnan(kept.vectors[2]).all() and not kept.quality[2]["present"]


def test_one_bad_input_stops_no_other(clips, tmp_path, capsys):
    bad = tmp_path / "notes\n.mp4"
    bad.write_text("not a film")
    (tmp_path / "empty.mp4").touch()
    paths = [clips / "deep", bad, tmp_path / "nowhere.mp4", tmp_path / "empty.mp4"]
    assert run(paths, tmp_path / "s", SOUND, 2, True) == 1
    told = json.loads(capsys.readouterr().out)
    assert [Path(file["input"]).name for file in told["files"]] == ["second.mpg"]
    rows = list(csv.DictReader((tmp_path / "s" / "failures.csv").open(newline="")))
    assert {Path(row["input"]).name for row in rows} == {"notes\n.mp4", "nowhere.mp4", "empty.mp4"}
    assert all(row["stage"] and row["reason"] and row["remedy"] for row in rows)
    assert run(paths[:1], tmp_path / "s", SOUND, 1, False) == 0
    assert (
        "nothing to do" in capsys.readouterr().out
        and not (tmp_path / "s" / "failures.csv").exists()
    )


def test_unusable_arguments_leave_nothing_behind(clips, tmp_path, capsys):
    for paths, options in (
        ([tmp_path / "nowhere.mp4"], SOUND),
        ([clips], ExtractOptions("offline", modalities=("smell",))),
        ([clips], ExtractOptions("offline", transcript=clips / "-first clip.csv")),
        ([clips], ExtractOptions("nowhere")),
    ):
        assert run(paths, tmp_path / "s", options, 1, False) == 2
        assert capsys.readouterr().err.startswith("merc: ")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="is a file"):
        extract([clips], tmp_path / "file" / "store", SOUND, quiet=True)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_leaves_no_half_file(tmp_path):
    path = tmp_path / "x.safetensors"
    write_bytes(path, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match=r"x\.safetensors"):
            write_bytes(path, b"n" * 10000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [p.name for p in tmp_path.iterdir()] == [path.name] and path.read_bytes() == b"old"
