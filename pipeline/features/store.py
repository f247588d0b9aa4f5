"""The feature store: features of recordings, addressed by content.

    <root>/<sha[:2]>/<sha>/<modality>-<id>.safetensors    features of one recording
    <root>/<sha[:2]>/<sha>/segments-<id>.json             its utterances
    <root>/<sha[:2]>/<sha>/name-<id>.json                 one file name that the recording has had
    <root>/merc-store.json                                version of this layout

sha is the SHA-256 of the recording's bytes. An id is `fingerprint_id` of what made the content, or
a checksum of the name. The content of a file depends on these alone: no clock, no path. A file is
written atomically and carries its own checksum. Several processes may write to a store without
locks: no file is changed after it was written, and two that write the same file write the same
bytes.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from pipeline.core.claims import remove_claims
from pipeline.core.dialogue import MODALITIES, Segmentation, Utterance
from pipeline.core.errors import MercError, MercWarning
from pipeline.core.files import cache_folder, write_bytes, write_text
from pipeline.core.fingerprints import canonical_json, checksum, fingerprint_id
from pipeline.core.temporary import remove_stale

__all__ = ["DamagedError", "Features", "Store", "default_store"]

SCHEMA = 1
_HEX = "[0-9a-f]"
_REPAIR = "run merc extract again to replace it"
BAD_CONTENT: tuple[type[Exception], ...] = (
    SafetensorError,
    KeyError,
    TypeError,
    AttributeError,
    ValueError,
    OSError,
    RecursionError,  # JSON of many brackets
    OverflowError,  # impossible sizes of arrays
    MemoryError,
)


class DamagedError(MercError):
    """A store file does not hold what was written to it."""


@dataclass(frozen=True)
class Features:
    """One modality of one recording with n utterances.

    recording: SHA-256 of the recording's bytes.
    fingerprint: {"extractor": what made the vectors, "segmentation": source of the utterances}.
    vectors: (n, width) float32; a row of NaN is a missing feature.
    quality: n JSON-able dicts.
    """

    recording: str
    modality: str
    fingerprint: dict[str, Any]
    utterances: list[Utterance]
    vectors: np.ndarray
    quality: list[dict[str, Any]] = field(default_factory=list)

    @property
    def id(self) -> str:
        """`fingerprint_id` of the fingerprint; part of the file name."""
        return fingerprint_id(self.fingerprint)

    @property
    def present(self) -> int:
        """Number of utterances whose feature is not missing."""
        return int((~np.isnan(self.vectors).all(1)).sum())


class Store:
    """A folder of features. Nothing is created before the first write.

    >>> store = Store(Path("store"))
    >>> for recording in store.recordings():
    ...     for path in store.files(recording):
    ...         print(store.names(recording), store.load(path).vectors.shape)
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def folder(self, recording: str) -> Path:
        """Return the folder of a recording, named by its SHA-256."""
        return self.root / recording[:2] / recording

    def path(self, recording: str, modality: str, fingerprint: dict[str, Any]) -> Path:
        """Return where features with this fingerprint are stored."""
        return self.folder(recording) / f"{modality}-{fingerprint_id(fingerprint)}.safetensors"

    def read(self, recording: str, modality: str, fingerprint: dict[str, Any]) -> Features | None:
        """Read the features with this fingerprint; None if there are none.

        Raises DamagedError.
        """
        path = self.path(recording, modality, fingerprint)
        return self.load(path) if path.exists() else None

    def write(self, features: Features) -> Path:
        """Write features, replacing those with the same fingerprint; return the path.

        Raises MercError if their shapes do not fit together or a value is not finite.
        """
        path = self.path(features.recording, features.modality, features.fingerprint)
        data = _pack(features)
        self._make_way(path)
        write_bytes(path, data)
        return path

    def load(self, path: Path) -> Features:
        """Read one feature file and verify it.

        Raises DamagedError if it is truncated, changed, not in its place, or of another schema.
        """
        try:
            features = _unpack(path.read_bytes())
        except BAD_CONTENT as error:
            raise _damaged(path, error) from error
        if path != self.path(features.recording, features.modality, features.fingerprint):
            raise DamagedError(
                f"{path}: not in its place (it holds {features.modality} {features.id} of "
                f"{features.recording[:12]}…)",
                "delete it and run merc extract again",
            )
        return features

    def read_segmentation(
        self, recording: str, request: dict[str, Any], name: str = ""
    ) -> Segmentation | None:
        """Read the segmentation made for a request; None if there is none.

        request: what `segmentation_request` returns. name: file name of the recording, which
        becomes the subject of the warnings. Raises DamagedError.
        """
        path = self._segments(recording, request)
        return self.load_segmentation(path, name) if path.exists() else None

    def write_segmentation(
        self, recording: str, request: dict[str, Any], segmentation: Segmentation
    ) -> Path:
        """Write the segmentation made for a request; return the path.

        Of warnings only the texts are stored: the same recording may have several names.
        """
        content = {
            "schema": SCHEMA,
            "medium": recording,
            "request": request,
            "source": segmentation.source,
            "utterances": _to_rows(segmentation.utterances),
            "warnings": [warning.text for warning in segmentation.warnings],
        }
        path = self._segments(recording, request)
        self._make_way(path)
        write_text(path, _segments_text(content))
        return path

    def load_segmentation(self, path: Path, name: str = "") -> Segmentation:
        """Read one segmentation file and verify it. Raises DamagedError."""
        try:
            text = path.read_bytes().decode("utf-8")
            content = json.loads(text)
            del content["checksum"]
            if text != _segments_text(content) or content["schema"] != SCHEMA:
                raise MercError("checksum differs")
            if path != self._segments(content["medium"], content["request"]):
                raise MercError("not in its place")
            return Segmentation(
                _from_rows(content["utterances"]),
                content["source"],
                [MercWarning(name, text) for text in content["warnings"]],
            )
        except BAD_CONTENT as error:
            raise _damaged(path, error) from error

    def add_name(self, recording: str, name: str) -> None:
        """Remember a file name of the recording. Exports name dialogues after it."""
        path = self._name(recording, name)
        with contextlib.suppress(*BAD_CONTENT):
            if self._load_names(path):
                return
        self._make_way(path)
        write_text(path, _name_text(name))

    def names(self, recording: str) -> list[str]:
        """Return the file names that the recording has had, sorted."""
        names = set()
        for path in self.name_files(recording):
            with contextlib.suppress(*BAD_CONTENT):  # names are a convenience, never an error
                names.update(self._load_names(path))
        return sorted(names)

    def name_files(self, recording: str) -> list[Path]:
        """List the files that hold the names of a recording."""
        folder = self.folder(recording)
        return sorted([*folder.glob("name-*.json"), *folder.glob("names.json")])

    def split_names(self, recording: str) -> bool:
        """Replace names.json, which format 1 had, by a file for each name; return if there was one.

        If it is damaged, its names are lost: the next extraction adds them again.
        """
        old = self.folder(recording) / "names.json"
        if not old.is_file():
            return False
        for name in self.names(recording):
            self.add_name(recording, name)
        old.unlink(missing_ok=True)
        return True

    def verify(self) -> tuple[int, list[tuple[Path, str]]]:
        """Check all files; return how many there are, and the path and fault of each bad one.

        A recording whose features were made from utterances that the store no longer has is a
        fault, too. The next extraction repairs every fault.
        """
        faults: list[tuple[Path, str]] = [
            (path, f"{path}: a file, not a folder; {_REPAIR}") for path in self._misplaced_files()
        ]
        checked = len(faults)
        for recording in self.recordings():
            sources, needed = set(), {}
            for path in [*self.segment_files(recording), *self.files(recording)]:
                checked += 1
                try:
                    if path.suffix == ".json":
                        sources.add(canonical_json(self.load_segmentation(path).source))
                    else:
                        features = self.load(path)
                        if self.needs_utterances(features):
                            needed[path] = features.fingerprint.get("segmentation") or {}
                except DamagedError as error:
                    faults.append((path, str(error)))
            for path, source in needed.items():
                if canonical_json(source) not in sources:
                    missing = "its utterances (segments-….json) are missing or damaged"
                    faults.append((path, f"{path}: {missing}; {_REPAIR}"))
            for path in self.name_files(recording):
                checked += 1
                try:
                    self._load_names(path)
                except BAD_CONTENT as error:
                    faults.append((path, str(_damaged(path, error))))
        return checked, faults

    @staticmethod
    def needs_utterances(features: Features) -> bool:
        """Say whether the store must have the utterances that these features were made from.

        Those of a raw release are the ones of its own transcript, and are not stored.
        """
        source = features.fingerprint.get("segmentation") or {}
        given = (source.get("speakers") or {}).get("method") == "given"
        return bool(source) and not (source.get("kind") == "transcript" and given)

    def remove_features(self, recording: str, source: dict[str, Any]) -> None:
        """Remove the features that were made from the utterances of a segmentation."""
        for path in self.files(recording):
            with contextlib.suppress(DamagedError):
                made_from = self.load(path).fingerprint.get("segmentation")
                if canonical_json(made_from) == canonical_json(source):
                    path.unlink(missing_ok=True)

    def remove_stale(self) -> list[Path]:
        """Remove the temporary files that killed processes have left; return their paths.

        Their claims are removed, too.
        """
        remove_claims(self.root)
        return remove_stale([self.root, *map(self.folder, self.recordings())])

    def is_store(self) -> bool:
        """Say whether the folder holds a recording, or a file in place of one."""
        return any(self.root.glob(f"{_HEX * 2}/{_HEX * 64}")) or bool(self._misplaced_files())

    def recordings(self) -> Iterator[str]:
        """Yield the SHA-256 of every recording, sorted."""
        for folder in sorted(self.root.glob("[0-9a-f][0-9a-f]/*")):
            name = folder.name
            if folder.is_dir() and len(name) == 64 and name.startswith(folder.parent.name):
                yield name

    def files(self, recording: str) -> list[Path]:
        """List the feature files of a recording, by modality and id."""
        folder = self.folder(recording)
        return sorted(
            path for modality in MODALITIES for path in folder.glob(f"{modality}-*.safetensors")
        )

    def segment_files(self, recording: str) -> list[Path]:
        """List the segmentation files of a recording."""
        return sorted(self.folder(recording).glob("segments-*.json"))

    def _name(self, recording: str, name: str) -> Path:
        return self.folder(recording) / f"name-{fingerprint_id({'name': name})}.json"

    def _load_names(self, path: Path) -> list[str]:
        text = path.read_bytes().decode("utf-8")
        content = json.loads(text)
        if path.name == "names.json":  # of format 1
            if not isinstance(content, list) or not all(isinstance(name, str) for name in content):
                raise MercError("not a list of names")
            return content
        if not isinstance(content, str) or path != self._name(path.parent.name, content):
            raise MercError("not the name that belongs here")
        if text != _name_text(content):
            raise MercError("not the bytes that were written")
        return [content]

    def _misplaced_files(self) -> list[Path]:
        """List files that lie where the folder of a recording, or of several, should be."""
        paths = [*self.root.glob(_HEX * 2), *self.root.glob(f"{_HEX * 2}/{_HEX * 64}")]
        return sorted(path for path in paths if not path.is_dir())

    def _make_way(self, path: Path) -> None:
        """Remove what is not merc's: a folder in place of a file, or a file in place of a folder.

        These paths are named by checksums, so no other content can belong there.
        """
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        for folder in (path.parent, path.parent.parent):
            if folder.is_relative_to(self.root) and folder != self.root and folder.is_file():
                folder.unlink()

    def _segments(self, recording: str, request: dict[str, Any]) -> Path:
        return self.folder(recording) / f"segments-{fingerprint_id(request)}.json"


def default_store() -> Path:
    """Return $MERC_STORE, else `store` in merc's cache folder (~/.cache/merc/store on Linux)."""
    named = os.environ.get("MERC_STORE")
    return Path(named) if named else cache_folder() / "store"


def _damaged(path: Path, error: Exception) -> DamagedError:
    return DamagedError(f"{path}: damaged ({error})", _REPAIR)


def _to_rows(utterances: list[Utterance]) -> list[list[Any]]:
    return [[float(u.start), float(u.end), u.text, u.speaker] for u in utterances]


def _from_rows(rows: list[list[Any]]) -> list[Utterance]:
    return [Utterance(start, end, text, speaker) for start, end, text, speaker in rows]


def _segments_text(content: dict[str, Any]) -> str:
    """Serialise a segmentation with its checksum.

    The text must be this one, not only mean the same: 1E-05 for 1e-05 is damage, too.
    """
    return canonical_json(content | {"checksum": checksum(content)}) + "\n"


def _name_text(name: str) -> str:
    return json.dumps(name) + "\n"


def _pack(features: Features) -> bytes:
    """Serialise features, with their fingerprint and a checksum, to a safetensors file."""
    vectors = np.ascontiguousarray(features.vectors, np.float32)
    missing = np.isnan(vectors).all(1)
    count = len(features.utterances)
    if vectors.ndim != 2 or len(vectors) != count or len(features.quality) != count:
        raise MercError(
            f"{features.modality}: features of shape {vectors.shape} and "
            f"{len(features.quality)} quality records for {count} utterances"
        )
    if not np.isfinite(vectors[~missing]).all():
        raise MercError(f"{features.modality}: a feature has infinite or NaN values")
    vectors[missing] = np.nan  # there are many NaNs; equal features need equal bytes
    about = {
        "schema": SCHEMA,
        "medium": features.recording,
        "modality": features.modality,
        "fingerprint": features.fingerprint,
        "utterances": _to_rows(features.utterances),
        "quality": features.quality,
    }
    about["checksum"] = checksum(about, vectors.tobytes())
    # one metadata entry: safetensors writes several in random order
    return save({"features": vectors}, {"merc": canonical_json(about)})


def _unpack(data: bytes) -> Features:
    """Parse and verify what `_pack` wrote; raise one of BAD_CONTENT if it is damaged."""
    vectors = load(data)["features"]
    length = int.from_bytes(data[:8], "little")  # of the header, which `load` does not return
    text = json.loads(data[8 : 8 + length])["__metadata__"]["merc"]
    about = json.loads(text)
    if canonical_json(about) != text:
        raise MercError("not the bytes that were written")
    expected = about.pop("checksum")
    if about["schema"] != SCHEMA:
        raise MercError(f"schema {about['schema']}, this merc reads {SCHEMA}")
    if expected != checksum(about, vectors.tobytes()):
        raise MercError("checksum differs")
    return Features(
        about["medium"],
        about["modality"],
        about["fingerprint"],
        _from_rows(about["utterances"]),
        vectors,
        about["quality"],
    )
