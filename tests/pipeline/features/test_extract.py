"""Real clips into a store: computed once, repeatable to the byte, errors isolated per input."""

from __future__ import annotations

import csv
import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.broken_clips import damage_video
from support.paths import ROOT
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.core.errors import MercError, MercWarning, UsageError
from pipeline.core.files import check_room, write_bytes
from pipeline.core.os_errors import WriteError
from pipeline.features.extract import ExtractOptions, extract
from pipeline.features.profiles import ExtractorOptions, build_extractors, options_of
from pipeline.features.store import Store

TRANSCRIPT = (
    "start,end,speaker,text\n0.4,1.5,Ann,bin blue at f\n1.5,2.8,Bo,two now\n2.8,2.83,Ann,oh\n"
)
AUDIO = ExtractOptions("offline", modalities=("audio",))


@pytest.fixture(scope="module")
def clips(media, tmp_path_factory) -> Path:
    """Two real clips with transcripts, under names that trip careless programs."""
    folder = tmp_path_factory.mktemp("clips") / "my vidéos"
    (folder / "deep").mkdir(parents=True)
    for source, name in (("bbaf2n.mpg", "-first clip.mpg"), ("lrwp9a.mpg", "deep/second.mpg")):
        shutil.copy(media / "grid" / source, folder / name)
        (folder / name).with_suffix(".csv").write_text(TRANSCRIPT)
    return folder


def run(*arguments: str | Path) -> Any:
    """Run `merc extract` on sound alone, in this process."""
    options = ["--profile", "offline", "--modality", "audio"]
    return CliRunner().invoke(app, ["extract", *options, *map(str, arguments)])


def content(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def test_second_run_computes_nothing_and_bytes_are_reproducible(clips, tmp_path):
    options = ExtractOptions("offline", modalities=("text", "audio"))
    first = extract([clips], tmp_path / "one", options)
    assert not first.failures and [file.utterances for file in first.files] == [3, 3]
    made = {"utterances": "made", "text": "made", "audio": "made"}
    assert all(file.done == made for file in first.files)
    # 30 ms are too short for the audio features
    assert all(file.present == {"text": 3, "audio": 2} for file in first.files)
    before = content(tmp_path / "one")
    second = extract([clips], tmp_path / "one", options)
    assert second.nothing_done and content(tmp_path / "one") == before

    moved = tmp_path / "elsewhere"
    shutil.copytree(clips, moved)
    extract([moved], tmp_path / "two", options)
    assert content(tmp_path / "two") == before
    assert not any(str(tmp_path).encode() in data for data in before.values())

    # another option adds features of that modality next to the old ones
    for option, modality in (
        (ExtractorOptions(audio_model="is10"), "audio"),
        (ExtractorOptions(text_cleaning="cosmic"), "text"),
    ):
        changed = ExtractOptions("offline", option, ("text", "audio"))
        third = extract([clips / "-first clip.mpg"], tmp_path / "one", changed).files[0]
        expected = {"utterances": "kept", "text": "kept", "audio": "kept"} | {modality: "made"}
        assert third.done == expected
        assert before.items() < content(tmp_path / "one").items()

    # another transcript means other utterances, so all features are new
    (moved / "deep" / "second.csv").write_text(TRANSCRIPT.replace("Bo", "Cy"))
    fourth = extract([moved / "deep"], tmp_path / "one", options).files[0]
    assert set(fourth.done.values()) == {"made"}


def test_the_model_of_the_voice_is_chosen_by_profile_or_option():
    def extractor(profile: str, **options: str) -> str:
        built = build_extractors(profile, ExtractorOptions(**options), ("audio",))["audio"]
        return f"{built.fingerprint['extractor']} {built.dim}"

    assert extractor("roberta") == extractor("offline", audio_model="is10") == "opensmile-is10 1582"
    assert extractor("offline") == extractor("roberta", audio_model="whisper")
    assert extractor("offline") == "whisper-encoder 768"
    with pytest.raises(UsageError, match="choose is10 or whisper"):
        extractor("offline", audio_model="wav2vec")
    with pytest.raises(UsageError, match="--audio-model is10"):
        extractor("offline", audio_variant="plain")


def test_warnings_from_the_store_name_the_recording(clips, tmp_path):
    source = clips / "deep" / "second.mpg"
    for name in ("a.mpg", "b.mpg"):
        shutil.copy(source, tmp_path / name)
        beyond_the_end = "90,95,Ann,later\n"
        (tmp_path / name).with_suffix(".csv").write_text(TRANSCRIPT + beyond_the_end)
    first = extract([tmp_path / "a.mpg"], tmp_path / "s", AUDIO).files[0]
    assert [warning.subject for warning in first.warnings] == ["a.csv"]
    again, other = (
        extract([tmp_path / name], tmp_path / "s", AUDIO).files[0] for name in ("a.mpg", "b.mpg")
    )
    text = first.warnings[0].text
    assert again.warnings == [MercWarning("a.mpg", text)]
    assert other.done["utterances"] == "kept" and other.warnings == [MercWarning("b.mpg", text)]
    (path,) = Store(tmp_path / "s").segment_files(first.medium)
    assert json.loads(path.read_text("utf-8"))["warnings"] == [text]


def test_warnings_of_decoding_are_repeated_from_the_store(shared, tmp_path):
    shutil.copy(shared / "cases" / "media" / "dc05.wav", tmp_path / "x.wav")
    (tmp_path / "x.csv").write_text(TRANSCRIPT)
    first, again = (extract([tmp_path / "x.wav"], tmp_path / "s", AUDIO).files[0] for _ in range(2))
    assert again.done["audio"] == "kept" and again.warnings == first.warnings
    assert any("has an offset" in warning.text for warning in first.warnings)


def test_warnings_about_the_picture_return_with_damaged_utterances(shared, tmp_path):
    damage_video(shared / "cases" / "dlg.mp4", tmp_path / "x.mp4")
    (tmp_path / "x.csv").write_text(TRANSCRIPT)
    options = ExtractOptions("offline", modalities=("visual",))
    first = extract([tmp_path / "x.mp4"], tmp_path / "s", options).files[0]
    assert any("no video frame" in warning.text for warning in first.warnings)
    before = content(tmp_path / "s")
    next((tmp_path / "s").rglob("segments-*")).write_text("{")
    again = extract([tmp_path / "x.mp4"], tmp_path / "s", options).files[0]
    assert again.warnings == first.warnings and content(tmp_path / "s") == before


def test_fingerprints_hold_the_cleaning_of_text():
    extractors = {
        name: build_extractors("offline", ExtractorOptions(text_cleaning=name), ("text",))["text"]
        for name in ("quotes", "cosmic")
    }
    texts = ["It\u2019s fine"]
    assert not np.allclose(extractors["quotes"].extract(texts), extractors["cosmic"].extract(texts))
    np.testing.assert_array_equal(
        extractors["cosmic"].extract(texts), extractors["quotes"].extract(["Its fine"])
    )
    for name, extractor in extractors.items():
        assert options_of({"text": extractor.fingerprint}).text_cleaning == name
    with pytest.raises(ValueError, match="cleaning 'ascii'"):
        build_extractors("offline", ExtractorOptions(text_cleaning="ascii"), ("text",))


def test_unknown_profile_and_device():
    with pytest.raises(UsageError) as caught:
        build_extractors("large")
    assert "'large'" in caught.value.reason and "roberta or offline" in caught.value.remedy
    with pytest.raises(MercError) as caught:
        build_extractors("offline", ExtractorOptions(device="abacus"))
    assert "--device abacus" in caught.value.reason and caught.value.remedy == "use cpu"


def test_damaged_files_are_repaired(clips, tmp_path):
    extract([clips], tmp_path, AUDIO)
    before, store = content(tmp_path), Store(tmp_path)
    damaged = store.files(next(store.recordings()))[0]
    damaged.write_bytes(damaged.read_bytes()[:-5])
    next(tmp_path.rglob("segments-*")).write_text("{")
    again = extract([clips], tmp_path, AUDIO)
    steps = sorted(how for file in again.files for how in file.done.values())
    assert steps == ["kept", "kept", "made again", "made again"]
    assert content(tmp_path) == before


def test_features_are_those_of_the_extractor_and_times_of_the_file(clips, tmp_path):
    from pipeline.media.decode import open_media

    extractor = build_extractors("offline", modalities=("audio",))["audio"]
    extract([clips / "deep"], tmp_path, AUDIO)
    store = Store(tmp_path)
    stored = store.load(store.files(next(store.recordings()))[0])
    with open_media(clips / "deep" / "second.mpg") as media:
        np.testing.assert_array_equal(
            stored.vectors[1], extractor.extract(media.sound(1.5, 2.8), 16000)
        )
    assert np.isnan(stored.vectors[2]).all() and not stored.quality[2]["present"]
    assert stored.present == 2


def test_one_bad_input_stops_no_other(clips, tmp_path):
    bad = tmp_path / "notes\n.mp4"
    bad.write_text("not a video")
    (tmp_path / "empty.mp4").touch()
    paths = [clips / "deep", bad, tmp_path / "nowhere.mp4", tmp_path / "empty.mp4"]
    out = ["--out", tmp_path / "s"]
    result = run(*paths, *out, "--jobs", "2", "--json")
    assert result.exit_code == 1
    files = json.loads(result.stdout)["files"]
    assert [Path(file["input"]).name for file in files] == ["second.mpg"]
    rows = list(
        csv.DictReader((tmp_path / "s" / "failures.csv").open(encoding="utf-8-sig", newline=""))
    )
    assert {Path(row["input"]).name for row in rows} == {"notes\\n.mp4", "nowhere.mp4", "empty.mp4"}
    assert all(row["stage"] and row["reason"] and row["remedy"] for row in rows)
    result = run(paths[0], *out)
    assert result.exit_code == 0 and "nothing to do" in result.stdout
    assert (tmp_path / "s" / "failures.csv").exists()  # of inputs that this run was not given


def test_unusable_arguments_leave_nothing_behind(clips, tmp_path):
    out = ["--out", tmp_path / "s"]
    for arguments in (
        [tmp_path / "nowhere.mp4"],
        [clips, "--modality", "smell"],
        [clips, "--transcript", clips / "-first clip.csv"],
        [clips, "--profile", "nowhere"],
    ):
        result = run(*arguments, *out)
        assert result.exit_code == 2
        assert result.stderr.startswith("merc: ")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="is a file"):
        extract([clips], tmp_path / "file" / "store", AUDIO)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_full_disk_leaves_no_partial_file(tmp_path):
    path = tmp_path / "x.safetensors"
    write_bytes(path, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match=r"x\.safetensors"):
            write_bytes(path, b"n" * 10000)
        with pytest.raises(WriteError, match="too large"):
            check_room(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [p.name for p in tmp_path.iterdir()] == [path.name] and path.read_bytes() == b"old"


SHARE = """
import json, sys
from pathlib import Path
from pipeline.features.extract import ExtractOptions, extract
options = ExtractOptions("offline", modalities=("text",))
summary = extract([Path(sys.argv[1])], Path(sys.argv[2]), options)
print(json.dumps({file.input: file.done["text"] for file in summary.files}))
"""


def test_two_processes_share_a_store_and_do_nothing_twice(media, tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    for source in sorted((media / "grid").glob("*.mpg"))[:5]:
        shutil.copy(source, folder)
        (folder / source.name).with_suffix(".csv").write_text(TRANSCRIPT)
    shutil.copy(folder / source.name, folder / "copy.mpg")  # the same recording twice
    (folder / "copy.csv").write_text(TRANSCRIPT)
    command = [sys.executable, "-c", SHARE, str(folder), str(tmp_path / "two")]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(2)
    ]
    done = [json.loads(process.communicate()[0]) for process in running]
    made = [steps[name] for steps in done for name in steps].count("made")
    assert made == 5
    extract([folder], tmp_path / "one", ExtractOptions("offline", modalities=("text",)))
    assert content(tmp_path / "two") == content(tmp_path / "one")
