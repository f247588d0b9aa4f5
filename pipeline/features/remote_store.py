"""A store at a URL, used through a local copy of the recording in work.

The layout is that of a local store (`pipeline.features.store`). Before a recording is worked on,
what the store has of it is fetched into a temporary folder; afterwards, what is new is written
back, each file under its name only when it is complete. If a listing is out of date, what it lacks
is made again and replaced by the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

from pipeline.core.errors import MercError
from pipeline.core.fingerprints import sha256_of
from pipeline.core.remote import RemoteFolder
from pipeline.features.store import Store
from pipeline.features.store_format import FORMAT, FORMAT_FILE, check_format

__all__ = ["edited_copy", "local_copy", "prepare_remote_store", "recording_copy"]


def prepare_remote_store(url: str) -> None:
    """Write the file that says which format a store has, if it has none.

    Raises MercError for a store of a newer merc, or if the URL cannot be read and written.
    """
    remote = RemoteFolder(url)
    try:
        data = remote.read(FORMAT_FILE)
    except FileNotFoundError:
        remote.write(FORMAT_FILE, (json.dumps({"format": FORMAT}) + "\n").encode())
        return
    with tempfile.TemporaryDirectory(prefix="merc-store-") as folder:
        (Path(folder) / FORMAT_FILE).write_bytes(data)
        try:
            check_format(Path(folder))
        except MercError as error:
            raise MercError(error.reason.replace(folder, url), error.remedy) from error


@contextmanager
def recording_copy(url: str, recording: str) -> Iterator[Store]:
    """Copy what a store has of one recording; write back what is new if the block succeeds.

    url: of the store. recording: SHA-256 of its bytes.
    """
    remote = RemoteFolder(url)
    with tempfile.TemporaryDirectory(prefix="merc-store-") as root:
        store = Store(Path(root))
        folder = store.folder(recording)
        place = folder.relative_to(store.root).as_posix()
        _fetch(remote, place, store.root)
        before = _contents(folder)
        store.split_names(recording)
        yield store
        after = _contents(folder)
        # utterances first: features without their utterances would be a fault
        for name in sorted(after, key=lambda name: (not name.startswith("segments-"), name)):
            if after[name] != before.get(name):
                remote.write(f"{place}/{name}", after[name])
        for name in before.keys() - after.keys():
            remote.remove(f"{place}/{name}")


@contextmanager
def local_copy(url: str) -> Iterator[Path]:
    """Copy a whole store into a temporary folder, to read it."""
    with tempfile.TemporaryDirectory(prefix="merc-store-") as root:
        _fetch(RemoteFolder(url), "", Path(root))
        yield Path(root)


@contextmanager
def edited_copy(url: str) -> Iterator[tuple[Path, dict[str, int]]]:
    """Copy a whole store; if the block succeeds, what it has changed is changed at the URL, too.

    A file is removed only if it still has the bytes that the block has seen, and if no file was
    added to its recording since: another process may have repaired it, or a listing was out of
    date.

    Yields:
        The folder of the copy, and name -> bytes of the files that were to be removed and are left,
        which is filled when the block has ended.
    """
    remote = RemoteFolder(url)
    with local_copy(url) as root:
        before = _states(root)
        left: dict[str, int] = {}
        yield root, left
        after = _states(root)
        for name in sorted(after):
            if after[name] != before.get(name):
                remote.write(name, (root / name).read_bytes())
        gone = sorted(before.keys() - after.keys())
        for folder, names in groupby(gone, key=lambda name: name.rpartition("/")[0]):
            known = before.keys() | after.keys()
            grown = bool(folder) and not remote.list(folder).keys() <= known
            for name in names:
                checksum, size = before[name]
                if grown or not _remove_same(remote, name, checksum):
                    left[name] = size


def _states(root: Path) -> dict[str, tuple[str, int]]:
    """Return name -> SHA-256 and bytes of all files in a folder."""
    files = [path for path in root.rglob("*") if path.is_file()]
    return {
        path.relative_to(root).as_posix(): (sha256_of(path), path.stat().st_size) for path in files
    }


def _remove_same(remote: RemoteFolder, name: str, checksum: str) -> bool:
    """Remove a file unless it has changed; say whether it is gone."""
    try:
        data = remote.read(name)
    except FileNotFoundError:
        return True
    if hashlib.sha256(data).hexdigest() != checksum:
        return False
    remote.remove(name)
    return True


def _fetch(remote: RemoteFolder, place: str, root: Path) -> None:
    for name in remote.list(place):
        path = root / name
        if not path.resolve().is_relative_to(root.resolve()):
            raise MercError(f"{remote.url}: holds a file named {name!r}", "remove it")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            remote.download(name, path)
        except FileNotFoundError:  # another process has removed it since it was listed
            path.unlink(missing_ok=True)


def _contents(folder: Path) -> dict[str, bytes]:
    """Return name -> content of the files of a recording, without temporary ones."""
    if not folder.is_dir():
        return {}
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.is_file() and not path.name.startswith(".")
    }
