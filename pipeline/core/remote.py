"""Files at URLs (`s3://bucket/folder`, `file:///folder`) through fsspec.

A file appears under its name only when it is complete: it is put under a temporary name, its size
is checked, then it is named. Requests that fail are repeated. Nothing here gives a URL to a media
library: recordings are downloaded to a local file first.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

from pipeline.core.errors import MercError, UsageError

__all__ = ["SCHEMES", "RemoteFolder", "as_typed", "output_url", "split_url", "url_of"]

SCHEMES = ("s3", "file")
TRIES = 5  # of a request
PAUSE = 0.2  # s before the second try; doubled each time
INCOMING = ".incoming"  # folder of files that have no name yet
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+):/+(.*)", re.DOTALL)
_ONE_SLASH = re.compile(r"^([A-Za-z][\w+.\-]+:)(?:/(?!/)|$)")
_OTHER_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+:(/.*)?", re.DOTALL)
_T = TypeVar("_T")


def url_of(path: str | Path) -> str | None:
    """Return a path of the command line as a URL; None if it is a local path.

    A `Path` has lost one of the two slashes.

    >>> url_of(Path("s3://bucket/talks")), url_of(Path("talks/a.mp4"))
    ('s3://bucket/talks', None)
    """
    match = _URL.fullmatch(str(path))
    if not match or Path(path).exists():
        return None
    scheme = match[1].lower()
    if scheme not in SCHEMES:
        return None  # `check_local` says that merc opens no network addresses
    rest = match[2].rstrip("/")
    if scheme != "file":
        return f"{scheme}://{rest}"
    if not Path(f"/{rest}").exists():
        # as browsers and file managers write this machine, and spaces
        rest = unquote(rest.removeprefix("localhost/"))
    return f"file:///{rest}"


def as_typed(path: str | Path) -> str:
    """Return a path or an address of the command line with the slashes that `Path` removed.

    >>> as_typed(Path("http://host/a.mp4")), as_typed(Path("s3://")), as_typed(Path("talks/a.mp4"))
    ('http://host/a.mp4', 's3://', 'talks/a.mp4')
    """
    return _ONE_SLASH.sub(r"\1//", str(path))


def output_url(folder: str | Path) -> str:
    """Return the URL of a folder that is written to; "" if it is local.

    Raises UsageError for URLs that merc cannot write to.

    >>> output_url("s3://bucket/results"), output_url("results")
    ('s3://bucket/results', '')
    """
    url = url_of(folder)
    if url is None and _OTHER_URL.fullmatch(str(folder)) and not Path(folder).exists():
        raise UsageError(
            f"{as_typed(folder)}: no place for results",
            "name a folder, or a URL: s3://BUCKET/..., file:///...",
        )
    return url or ""


def split_url(url: str) -> tuple[str, str]:
    """Split a URL of a file into that of its folder and its name.

    >>> split_url("s3://bucket/talks/a.mp4")
    ('s3://bucket/talks', 'a.mp4')
    """
    folder, _, name = url.rpartition("/")
    return folder, name


class RemoteFolder:
    """A folder at a URL. Names are relative to it, with slashes.

    Raises UsageError if the library for its scheme is not installed, MercError if requests fail for
    good.

    >>> folder = RemoteFolder(f"file://{Path.cwd()}/bucket")
    >>> folder.write("a/b.txt", b"text")
    >>> folder.list(), folder.read("a/b.txt")
    ({'a/b.txt': 4}, b'text')
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url}  # connections stay in their process

    @cached_property
    def _fs(self) -> Any:
        import fsspec

        scheme = self.url.partition(":")[0]
        options: dict[str, Any] = {"skip_instance_cache": True}
        if scheme == "s3":
            # a cached listing would hide what other machines have written
            options |= {"use_listings_cache": False}
            options["config_kwargs"] = {"connect_timeout": 10, "read_timeout": 60}
        if scheme == "file":
            options["auto_mkdir"] = True
        try:
            return fsspec.filesystem(scheme, **options)
        except ImportError as error:
            raise UsageError(
                f"{self.url}: the library for {scheme}:// is not installed",
                f"pip install 'merc[{scheme}]'",
            ) from error

    @cached_property
    def _root(self) -> str:
        return self._fs._strip_protocol(self.url)

    def list(self, folder: str = "") -> dict[str, int]:
        """Return name -> bytes of all files in a folder and below it; empty if there is none."""
        place = self._place(folder) if folder else self._root
        try:
            what = f"list {folder or 'its files'}"
            found = self._request(lambda: self._fs.find(place, detail=True), what)
        except FileNotFoundError:
            return {}
        files = {path[len(self._root) + 1 :]: int(about["size"]) for path, about in found.items()}
        return {name: size for name, size in sorted(files.items()) if not name.startswith(INCOMING)}

    def read(self, name: str) -> bytes:
        """Return the content of a file. Raises FileNotFoundError."""

        def read() -> bytes:
            data = self._fs.cat_file(self._place(name))
            self._check_size(name, len(data))
            return data

        return self._request(read, f"read {name}")

    def download(self, name: str, path: Path) -> None:
        """Copy a file to a local path. Raises FileNotFoundError."""

        def download() -> None:
            self._fs.get_file(self._place(name), str(path))
            self._check_size(name, path.stat().st_size)

        self._request(download, f"download {name}")

    def write(self, name: str, data: bytes) -> None:
        """Write a file: put it under a temporary name, check its size, name it."""
        temporary = f"{INCOMING}/{uuid.uuid4().hex}"

        def write() -> None:
            self._fs.pipe_file(self._place(temporary), data)
            self._check_size(temporary, len(data))
            self._fs.mv(self._place(temporary), self._place(name))

        try:
            self._request(write, f"write {name}")
        except FileNotFoundError as error:
            reason = f"{self.url}: cannot write {name}: {error}"
            raise MercError(reason, "create the bucket, or check the address") from error

    def check_writable(self) -> None:
        """Raise MercError if nothing can be written here. Leaves nothing behind."""
        probe = f"{INCOMING}/{uuid.uuid4().hex}"
        self.write(probe, b"")
        self.remove(probe)

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""
        try:
            self._request(lambda: self._fs.rm_file(self._place(name)), f"remove {name}")
        except FileNotFoundError:
            pass

    def _place(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _check_size(self, name: str, size: int) -> None:
        expected = self._fs.info(self._place(name))["size"]
        if size != expected:
            raise OSError(f"{size} of {expected} bytes")

    def _request(self, request: Callable[[], _T], what: str) -> _T:
        """Make a request, again if it fails in a way that may pass."""
        for number in range(1, TRIES + 1):
            try:
                return request()
            except (FileNotFoundError, UsageError):
                raise
            except Exception as error:  # the libraries raise dozens of types
                if number == TRIES or isinstance(error, PermissionError) or _for_good(error):
                    raise MercError(
                        f"{self.url}: cannot {what}: {' '.join(str(error).split())}"[:300],
                        "check the address, the credentials and the connection, and run again: "
                        "what is done is not done again",
                    ) from error
            time.sleep(PAUSE * 2 ** (number - 1))
        raise AssertionError("unreachable")


def _for_good(error: Exception) -> bool:
    """Whether a request will never succeed: no credentials, a bucket that cannot exist."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"NoCredentialsError", "ParamValidationError"})
