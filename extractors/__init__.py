"""Decoded media to one vector per utterance: `TextExtractor`, `AudioExtractor`, `VisualExtractor`."""

from __future__ import annotations

import hashlib
import json
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from extractors.audio import AudioExtractor
    from extractors.text import TextExtractor
    from extractors.visual import VisualExtractor

__all__ = ["AudioExtractor", "TextExtractor", "VisualExtractor", "fingerprint_id", "sha256_of"]

# imported on first use: torch, transformers, openSMILE and OpenCV together take seconds
_HOMES = {"TextExtractor": "extractors.text", "AudioExtractor": "extractors.audio",
          "VisualExtractor": "extractors.visual"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'extractors' has no attribute {name!r}")


def fingerprint_id(fingerprint: dict[str, Any]) -> str:
    """A fingerprint as 16 hexadecimal digits: equal exactly when the fingerprints are."""
    text = json.dumps(fingerprint, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def sha256_of(*paths: Path) -> str:
    """sha256 of one file; of several, the sha256 of their digests in the order given."""
    digests = []
    for path in paths:
        with open(path, "rb") as file:
            digests.append(hashlib.file_digest(file, "sha256"))
    if len(digests) == 1:
        return digests[0].hexdigest()
    return hashlib.sha256(b"".join(digest.digest() for digest in digests)).hexdigest()
