"""Keep a store in order: prepare it for writing, count what it holds, repair it, remove waste."""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from pipeline.core.errors import UsageError
from pipeline.core.fingerprints import canonical_json, fingerprint_id
from pipeline.features.store import DamagedError, Store
from pipeline.features.store_format import check_format, migrate

__all__ = ["collect_garbage", "prepare_store", "repair", "stats"]


def prepare_store(root: Path) -> Store:
    """Bring a store to the current format and remove what killed processes have left.

    Raises MercError for a store of a newer merc.
    """
    store = Store(root)
    migrate(store)
    store.remove_stale()
    return store


def stats(store: Store) -> dict[str, Any]:
    """Count recordings, utterances, features and bytes, by modality and extractor.

    Damaged files are counted apart. The result is JSON-able.
    """
    extractors: dict[str, dict[str, Any]] = {}
    counts: Counter[str] = Counter()
    for recording in store.recordings():
        counts["recordings"] += 1
        for path in _files(store.folder(recording)):
            counts["files"] += 1
            counts["bytes"] += path.stat().st_size
        for path in store.segment_files(recording):
            with _damage_counted(counts):
                counts["utterances"] += len(store.load_segmentation(path).utterances)
                counts["segmentations"] += 1
        for path in store.files(recording):
            with _damage_counted(counts):
                features = store.load(path)
                made = features.fingerprint["extractor"]
                row = extractors.setdefault(
                    fingerprint_id(made),
                    {
                        "modality": features.modality,
                        "extractor": made.get("extractor", "?"),
                        "width": int(features.vectors.shape[1]),
                        "recordings": 0,
                        "features": 0,
                        "missing": 0,
                        "bytes": 0,
                    },
                )
                row["recordings"] += 1
                row["features"] += features.present
                row["missing"] += len(features.utterances) - features.present
                row["bytes"] += path.stat().st_size
    names = ("recordings", "segmentations", "utterances", "files", "bytes", "damaged")
    return {
        "format": check_format(store.root),
        **{name: counts[name] for name in names},
        "extractors": dict(sorted(extractors.items(), key=lambda item: item[1]["modality"])),
    }


def repair(store: Store) -> tuple[int, list[tuple[Path, str]]]:
    """Remove every file that `Store.verify` finds fault with, so that it can be made again.

    Returns what `verify` returned: the number of files, and the path and fault of those removed.

    Raises OSError if one cannot be removed.
    """
    migrate(store)
    checked, faults = store.verify()
    for path, _ in faults:
        _remove(path)
    _remove_empty_folders(store)
    return checked, faults


def collect_garbage(
    store: Store, remove: Collection[str] = (), dry_run: bool = False
) -> tuple[list[Path], int]:
    """Remove what no extraction will read again; return the paths and their bytes.

    This is: what killed processes have left, features whose utterances the store no longer has, and
    utterances without features. Recordings with damaged files are left alone: see `repair`.

    Args:
        remove: ids of features, extractors or segmentations, as `merc store ls` shows them, of
            which at least the first 6 digits; what they made is removed, too.
        dry_run: only say what would be removed.

    Raises UsageError for an id that nothing in the store has.

    >>> store = Store(Path("store"))
    >>> collect_garbage(store, dry_run=True)
    ([], 0)
    """
    unwanted = _Unwanted(remove)
    paths = [path for recording in store.recordings() for path in unwanted.of(store, recording)]
    unwanted.check()
    size = sum(path.stat().st_size for path in paths if path.is_file())
    if not dry_run:
        store.remove_stale()
        for path in paths:
            _remove(path)
        _remove_empty_folders(store)
    return paths, size


class _Unwanted:
    """Find what can go in the folder of a recording. ids: begins of ids that were named."""

    def __init__(self, ids: Collection[str]) -> None:
        short = [name for name in ids if len(name) < 6]
        if short:
            raise UsageError(f"--remove {short[0]}: too short", "give at least 6 digits of the id")
        self.ids, self.seen = set(ids), set[str]()

    def of(self, store: Store, recording: str) -> list[Path]:
        sources: dict[Path, str] = {}  # of the utterances, as JSON
        gone, used, damaged = set(), set(), False
        for path in store.segment_files(recording):
            try:
                source = store.load_segmentation(path).source
            except DamagedError:  # `merc store verify` reports it
                damaged = True
                continue
            sources[path] = canonical_json(source)
            if self._named(source):
                gone.add(path)
        kept = {source for path, source in sources.items() if path not in gone}
        for path in store.files(recording):
            try:
                features = store.load(path)
            except DamagedError:
                damaged = True
                continue
            made, found = features.fingerprint, features.fingerprint.get("segmentation") or {}
            lost = store.needs_utterances(features) and canonical_json(found) not in kept
            if self._named(made, made["extractor"], found) or (lost and not damaged):
                gone.add(path)
            else:
                used.add(canonical_json(found))
        if not damaged:
            gone |= {path for path, source in sources.items() if source not in used}
        return sorted(gone)

    def _named(self, *fingerprints: dict[str, Any]) -> bool:
        found = {
            name
            for name in self.ids
            for fingerprint in fingerprints
            if fingerprint_id(fingerprint).startswith(name)
        }
        self.seen |= found
        return bool(found)

    def check(self) -> None:
        unknown = sorted(self.ids - self.seen)
        if unknown:
            raise UsageError(
                f"--remove {unknown[0]}: nothing in the store has this id",
                "see the ids with: merc store ls",
            )


@contextlib.contextmanager
def _damage_counted(counts: Counter[str]) -> Iterator[None]:
    try:
        yield
    except DamagedError:
        counts["damaged"] += 1


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _remove_empty_folders(store: Store) -> None:
    """Remove the folders of recordings of which only names are left, and empty ones."""
    for recording in list(store.recordings()):
        folder = store.folder(recording)
        if all(path in store.name_files(recording) for path in folder.iterdir()):
            shutil.rmtree(folder)
            with contextlib.suppress(OSError):  # another recording is in it
                folder.parent.rmdir()
