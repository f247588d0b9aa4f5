"""Files at URLs are complete or not there, whatever the connection does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.s3 import FAULTS, Proxy, s3_server

from pipeline.core import remote
from pipeline.core.errors import MercError, UsageError
from pipeline.core.remote import RemoteFolder, output_url, url_of


@pytest.fixture(scope="module")
def s3() -> Iterator[Proxy]:
    with s3_server() as proxy:
        yield proxy


@pytest.mark.parametrize(
    "path, url",
    [
        (Path("s3://bucket/a b/c.mp4"), "s3://bucket/a b/c.mp4"),
        ("s3://bucket/talks/", "s3://bucket/talks"),
        (Path("file:///tmp/x"), "file:///tmp/x"),
        (Path("file:///tmp/a%20b/c"), "file:///tmp/a b/c"),
        (Path("file://localhost/tmp/c"), "file:///tmp/c"),
        (Path("http://example.org/x.mp4"), None),
        (Path("concat:a.mp4"), None),
        (Path("talks"), None),
        (Path("/talks/s3:/x"), None),
    ],
)
def test_urls(path: str | Path, url: str | None) -> None:
    assert url_of(path) == url


@pytest.mark.parametrize("url", ["ftp://host/x", "http://host/x", "file://"])
def test_results_at_other_urls_are_refused_before_any_work(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="no place for results"):
        output_url(Path(url))
    (tmp_path / "a:b").mkdir()
    assert output_url(Path("a:b")) == output_url(Path("ab:c d")) == ""


def use(folder: RemoteFolder, local: Path) -> None:
    """Write, replace, read, list, remove."""
    assert folder.list() == {}
    with pytest.raises(FileNotFoundError):
        folder.read("none")
    big = bytes(range(256)) * 4000
    for data in (b"old", big):
        folder.write("a/b.bin", data)
        assert folder.read("a/b.bin") == data
    folder.write("a/empty", b"")
    folder.download("a/b.bin", local)
    assert local.read_bytes() == big
    assert folder.list("a") == folder.list() == {"a/b.bin": len(big), "a/empty": 0}
    folder.remove("a/empty")
    folder.remove("a/empty")
    assert folder.list() == {"a/b.bin": len(big)}


def test_a_folder_of_this_machine(tmp_path: Path) -> None:
    use(RemoteFolder(f"file://{tmp_path}/store"), tmp_path / "local")
    assert not list((tmp_path / "store" / remote.INCOMING).iterdir())


@pytest.mark.parametrize("fault", ["", *(fault for fault in FAULTS if fault != "stale")])
def test_a_bucket(s3: Proxy, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PAUSE", 0.01)
    s3.fault, s3.injected = fault, 0
    use(RemoteFolder(f"s3://bucket/{fault or 'none'}"), tmp_path / "local")
    assert bool(s3.injected) == bool(fault)
    s3.fault = ""


def test_what_fails_for_good_is_an_error(s3: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PAUSE", 0.01)
    with pytest.raises(MercError, match="create the bucket"):
        RemoteFolder("s3://no-such-bucket/x").write("a", b"")
