"""Recordings and store in a bucket: the same bytes as on the disk, whatever the connection does."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.s3 import Proxy, s3_server
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.core import remote
from pipeline.core.fingerprints import sha256_of
from pipeline.core.remote import RemoteFolder
from pipeline.features.extract import ExtractOptions, extract
from pipeline.features.remote_store import edited_copy
from pipeline.features.store_format import FORMAT_FILE

OPTIONS = ExtractOptions("offline", modalities=("text",))
TRANSCRIPT = "start,end,speaker,text\n0.4,1.5,Ann,bin blue at f\n1.5,2.8,Bo,two now\n"


@pytest.fixture(scope="module")
def s3() -> Iterator[Proxy]:
    with s3_server() as proxy:
        yield proxy


@pytest.fixture(scope="module")
def clips(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    (folder / "deep").mkdir()
    for source, name in (("bbaf2n.mpg", "one two.mpg"), ("lrwp9a.mpg", "deep/second.mpg")):
        shutil.copy(media / "grid" / source, folder / name)
        (folder / name).with_suffix(".csv").write_text(TRANSCRIPT)
    return folder


@pytest.fixture(scope="module")
def local(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a store on the disk."""
    root = tmp_path_factory.mktemp("local") / "store"
    assert not extract([clips], root, OPTIONS).failures
    paths = [path for path in root.rglob("*") if path.is_file()]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def content(url: str) -> dict[str, bytes]:
    folder = RemoteFolder(url)
    return {name: folder.read(name) for name in folder.list()}


@pytest.mark.parametrize("fault", ["cut", "stale"])  # tests/pipeline/core/test_remote.py: others
def test_a_bucket_gets_the_bytes_of_a_folder(
    s3: Proxy, clips: Path, local: dict[str, bytes], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two recordings with features under one fault; under the other, one without, to save time."""
    monkeypatch.setattr(remote, "PAUSE", 0.01)
    options, expected, names = OPTIONS, local, ["deep/second.mpg", "one two.mpg"]
    if fault != "cut":
        options, names = replace(OPTIONS, modalities=()), names[:1]
        sha256 = sha256_of(clips / names[0])
        expected = {n: data for n, data in local.items() if sha256 in n and "/text-" not in n}
        expected[FORMAT_FILE] = local[FORMAT_FILE]
    s3.fault, s3.injected = "", 0
    inputs, store = f"s3://bucket/{fault}/videos", f"s3://bucket/{fault}/store"
    for name in [*names, *(f"{name[:-3]}csv" for name in names)]:
        RemoteFolder(inputs).write(name, (clips / name).read_bytes())
    s3.fault = fault
    first = extract([Path(inputs)], Path(store), options)
    second = extract([Path(inputs)], Path(store), options)
    assert s3.injected
    s3.fault = ""
    assert [file.input for file in first.files] == [f"{inputs}/{name}" for name in names]
    assert not first.failures and not second.failures
    assert second.nothing_done or fault == "stale"
    assert content(store) == expected
    objects = RemoteFolder(f"s3://bucket/{fault}").list("store")
    assert not any(remote.INCOMING in name for name in objects)


def test_commands_read_a_store_at_a_url(clips: Path, local: dict[str, bytes], tmp_path) -> None:
    url = f"file://{tmp_path}/store"
    summary = extract([Path(f"file://{clips}/one two.mpg")], Path(url), OPTIONS)
    assert [file.utterances for file in summary.files] == [2]
    assert content(url).items() <= local.items() and FORMAT_FILE in content(url)
    for command in ("ls", "stats", "verify"):
        shown = CliRunner().invoke(app, ["store", command, url])
        assert shown.exit_code == 0, shown.output
        assert url in shown.output.replace("\n", "") and "merc-store-" not in shown.output


def test_a_store_in_a_bucket_is_repaired_and_tidied(s3: Proxy, local: dict[str, bytes]) -> None:
    url = "s3://bucket/upkeep"
    bucket = RemoteFolder(url)
    for name, data in local.items():
        bucket.write(name, data)
    damaged, gone = (name for name in sorted(local) if "/text-" in name)
    bucket.write(damaged, local[damaged][:-1])
    bucket.remove(gone)
    folder = gone.rpartition("/")[0]
    unused = next(name for name in local if name.startswith(f"{folder}/segments-"))
    command = ["store", "gc", url]
    shown = CliRunner().invoke(app, [*command, "--dry-run"])
    assert shown.exit_code == 0 and f"{url}/{unused}" in shown.output and unused in bucket.list()
    shown = CliRunner().invoke(app, command)
    assert shown.exit_code == 0 and f"{url}/{unused}" in shown.output
    shown = CliRunner().invoke(app, ["store", "verify", url, "--repair"])
    assert shown.exit_code == 0 and f"{url}/{damaged}: damaged" in shown.output
    left = {name for name in local if not name.startswith(folder)} - {damaged}
    assert content(url) == {name: local[name] for name in left}
    assert CliRunner().invoke(app, ["store", "verify", url]).exit_code == 0


def test_what_changes_at_the_url_meanwhile_is_not_removed(
    local: dict[str, bytes], tmp_path: Path
) -> None:
    url = f"file://{tmp_path}/store"
    there = RemoteFolder(url)
    for name, data in local.items():
        there.write(name, data)
    same, repaired = sorted(local)[:2]
    with edited_copy(url) as (copy, left):
        for name in (same, repaired):
            (copy / name).unlink()
        there.write(repaired, b"repaired")
    assert left == {repaired: len(local[repaired])} and there.read(repaired) == b"repaired"
    assert same not in there.list()
    there.write(same, local[same])
    with edited_copy(url) as (copy, left):
        (copy / same).unlink()
        there.write(f"{same}-new", b"new")
    assert list(left) == [same] and there.read(same) == local[same]
    with pytest.raises(ValueError), edited_copy(url) as (copy, left):
        (copy / same).unlink()
        raise ValueError
    assert same in there.list()


def test_an_input_that_is_not_there_fails_alone(clips: Path, tmp_path: Path) -> None:
    paths = [Path(f"file://{clips}/none.mpg"), clips / "one two.mpg"]
    summary = extract(paths, tmp_path / "store", OPTIONS)
    assert len(summary.files) == 1
    (failure,) = summary.failures
    assert failure.input == f"file://{clips}/none.mpg" and "no such file" in failure.reason
