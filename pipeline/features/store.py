"""The feature store: what was computed once is kept, by content.

    <root>/<sha[:2]>/<sha>/<modality>-<id>.safetensors    features of one medium
    <root>/<sha[:2]>/<sha>/segments-<id>.json             its utterances
    <root>/<sha[:2]>/<sha>/names.json                     file names under which the medium was given

sha is the SHA-256 of the medium's bytes; an id is the first 16 hex digits of the SHA-256 of what made the content
(`fingerprint_id`).  Feature and segment files are a function of those two alone: no clock, no path.  A file is whole
or absent, carries its own checksum, and two processes that write it write the same bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from pipeline.core.dialogue import MODALITIES, Segmentation, Utterance
from pipeline.core.files import cache_folder, write_bytes, write_text
from pipeline.core.fingerprints import canonical_json, checksum, fingerprint_id

__all__ = [
    "DamagedError",
    "Features",
    "Store",
    "default_store",
]

SCHEMA = 1


class DamagedError(ValueError):
    """A store file that is not what was written."""


@dataclass(frozen=True)
class Features:
    """One modality of one medium.  vectors (n, d) float32, a row of NaN = missing; quality: n JSON-able dicts.

    fingerprint: {"extractor": what made the vectors, "segmentation": where the utterances came from}.
    """

    medium: str  # SHA-256 of its bytes
    modality: str
    fingerprint: dict[str, Any]
    utterances: list[Utterance]
    vectors: np.ndarray
    quality: list[dict[str, Any]] = field(default_factory=list)

    @property
    def id(self) -> str:
        return fingerprint_id(self.fingerprint)


class Store:
    """A folder of features; nothing is created before the first write."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def folder(self, medium: str) -> Path:
        return self.root / medium[:2] / medium

    def path(self, medium: str, modality: str, fingerprint: dict[str, Any]) -> Path:
        return self.folder(medium) / f"{modality}-{fingerprint_id(fingerprint)}.safetensors"

    def read(self, medium: str, modality: str, fingerprint: dict[str, Any]) -> Features | None:
        """What is kept under this fingerprint, None if nothing.  Raises DamagedError."""
        path = self.path(medium, modality, fingerprint)
        return self.load(path) if path.exists() else None

    def write(self, features: Features) -> Path:
        path = self.path(features.medium, features.modality, features.fingerprint)
        write_bytes(path, _pack(features))
        return path

    def load(self, path: Path) -> Features:
        """Read one feature file and check all of it.

        Raises DamagedError: cut short, changed, misplaced, or of another version of merc.
        """
        try:
            features = _unpack(path.read_bytes())
        except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
            raise DamagedError(
                f"{path}: damaged ({error}); run merc extract again to make it anew"
            ) from error
        if path != self.path(features.medium, features.modality, features.fingerprint):
            raise DamagedError(
                f"{path}: not in its place (it is {features.modality} {features.id} of "
                f"{features.medium[:12]}…); delete it and run merc extract again"
            )
        return features

    def read_segmentation(self, medium: str, request: dict[str, Any]) -> Segmentation | None:
        """The utterances found for this request (recogniser, transcript, options), or None.  Raises DamagedError."""
        path = self._segments(medium, request)
        return self.load_segmentation(path) if path.exists() else None

    def write_segmentation(
        self, medium: str, request: dict[str, Any], segmentation: Segmentation
    ) -> Path:
        content = {
            "schema": SCHEMA,
            "medium": medium,
            "request": request,
            "source": segmentation.source,
            "utterances": _rows(segmentation.utterances),
            "warnings": segmentation.warnings,
        }
        path = self._segments(medium, request)
        write_text(path, canonical_json(content | {"checksum": checksum(content)}) + "\n")
        return path

    def load_segmentation(self, path: Path) -> Segmentation:
        try:
            content = json.loads(path.read_text("utf-8"))
            told = content.pop("checksum")
            if told != checksum(content) or content["schema"] != SCHEMA:
                raise ValueError("checksum differs")
            if path != self._segments(content["medium"], content["request"]):
                raise ValueError("not in its place")
            return Segmentation(
                _utterances(content["utterances"]), content["source"], content["warnings"]
            )
        except (KeyError, TypeError, AttributeError, ValueError, OSError) as error:
            raise DamagedError(
                f"{path}: damaged ({error}); run merc extract again to make it anew"
            ) from error

    def note_name(self, medium: str, name: str) -> None:
        """Remember a file name of the medium: exports call dialogues by it."""
        known = self.names(medium)
        if name not in known:
            write_text(
                self.folder(medium) / "names.json", json.dumps(sorted([*known, name])) + "\n"
            )

    def names(self, medium: str) -> list[str]:
        try:
            return [
                str(name)
                for name in json.loads((self.folder(medium) / "names.json").read_text("utf-8"))
            ]
        except (OSError, ValueError, TypeError):  # only a convenience
            return []

    def media(self) -> Iterator[str]:
        """SHA-256 of every medium, sorted."""
        for folder in sorted(self.root.glob("[0-9a-f][0-9a-f]/*")):
            if (
                folder.is_dir()
                and len(folder.name) == 64
                and folder.name.startswith(folder.parent.name)
            ):
                yield folder.name

    def files(self, medium: str) -> list[Path]:
        """Its feature files, by modality and id."""
        return sorted(
            path
            for modality in MODALITIES
            for path in self.folder(medium).glob(f"{modality}-*.safetensors")
        )

    def segment_files(self, medium: str) -> list[Path]:
        return sorted(self.folder(medium).glob("segments-*.json"))

    def _segments(self, medium: str, request: dict[str, Any]) -> Path:
        return self.folder(medium) / f"segments-{fingerprint_id(request)}.json"


def default_store() -> Path:
    """$MERC_STORE, else `store` in merc's cache folder: ~/.cache/merc/store on Linux."""
    named = os.environ.get("MERC_STORE")
    return Path(named) if named else cache_folder() / "store"


def _rows(utterances: list[Utterance]) -> list[list[Any]]:
    return [[float(u.start), float(u.end), u.text, u.speaker] for u in utterances]


def _utterances(rows: list[list[Any]]) -> list[Utterance]:
    return [Utterance(start, end, text, speaker) for start, end, text, speaker in rows]


def _pack(features: Features) -> bytes:
    vectors = np.ascontiguousarray(features.vectors, np.float32)
    missing = np.isnan(vectors).all(1)
    if (
        vectors.ndim != 2
        or len(vectors) != len(features.utterances)
        or len(features.quality) != len(vectors)
    ):
        raise ValueError(
            f"{features.modality}: {vectors.shape} features and {len(features.quality)} notes for "
            f"{len(features.utterances)} utterances"
        )
    if not np.isfinite(vectors[~missing]).all():
        raise ValueError(
            f"{features.modality}: a feature with infinite or NaN values in some columns"
        )
    vectors[missing] = np.nan  # one NaN of the many there are
    about = {
        "schema": SCHEMA,
        "medium": features.medium,
        "modality": features.modality,
        "fingerprint": features.fingerprint,
        "utterances": _rows(features.utterances),
        "quality": features.quality,
    }
    about["checksum"] = checksum(about, vectors.tobytes())
    # one metadata entry: safetensors writes several in random order
    return save({"features": vectors}, {"merc": canonical_json(about)})


def _unpack(data: bytes) -> Features:
    vectors = load(data)["features"]
    length = int.from_bytes(data[:8], "little")  # the header, which `load` does not return
    about = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["merc"])
    told = about.pop("checksum")
    if about["schema"] != SCHEMA:
        raise ValueError(f"schema {about['schema']}, this merc reads {SCHEMA}")
    if told != checksum(about, vectors.tobytes()):
        raise ValueError("checksum differs")
    return Features(
        about["medium"],
        about["modality"],
        about["fingerprint"],
        _utterances(about["utterances"]),
        vectors,
        about["quality"],
    )
