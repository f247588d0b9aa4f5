"""Fingerprints: what made a feature, and how it is named and compared.

A feature fingerprint is a JSON-able dict: extractor, version, weights (a SHA-256), options. It
holds no clock and no path.
"""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = [
    "PACKAGED_TEXT",
    "canonical_json",
    "checksum",
    "fingerprint_id",
    "option_of",
    "package_version",
    "profile_of",
    "sha256_of",
]

# text encoders that come with packages or with merc
PACKAGED_TEXT = ("minilm", "minilm-emotion")


def sha256_of(*paths: Path) -> str:
    """Return the SHA-256 of one file; of several, that of their digests in the order given."""
    digests = []
    for path in paths:
        with open(path, "rb") as file:
            digests.append(hashlib.file_digest(file, "sha256"))
    if len(digests) == 1:
        return digests[0].hexdigest()
    return hashlib.sha256(b"".join(digest.digest() for digest in digests)).hexdigest()


def canonical_json(content: Any) -> str:
    """Serialise to JSON such that equal contents give equal text: sorted keys, no spaces.

    >>> canonical_json({"b": 1, "a": [None, "é"]})
    '{"a":[null,"é"],"b":1}'

    Raises ValueError for NaN and infinity.
    """
    return json.dumps(
        content, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )


def checksum(content: Any, data: bytes = b"") -> str:
    """Return the SHA-256 of JSON-able content and the bytes that belong to it."""
    text = canonical_json(content).encode("utf-8", "surrogatepass")
    return hashlib.sha256(text + b"\0" + data).hexdigest()


def fingerprint_id(fingerprint: dict[str, Any]) -> str:
    """Name a fingerprint by 16 hexadecimal digits; the order of its keys does not matter.

    >>> fingerprint_id({"extractor": "x", "version": "1"})
    '44747d08f30e32c5'
    """
    return checksum(fingerprint)[:16]


def option_of(fingerprints: dict[str, dict[str, Any]] | None, modality: str, name: str) -> Any:
    """Look up one option of one modality's extractor; None if it is not known.

    >>> option_of({"text": {"options": {"name": "minilm"}}}, "text", "name")
    'minilm'
    """
    return (fingerprints or {}).get(modality, {}).get("options", {}).get(name)


def profile_of(fingerprints: dict[str, dict[str, Any]] | None) -> str:
    """Return the profile that makes such features; unknown features count as `roberta`.

    >>> profile_of({"text": {"options": {"name": "minilm"}}})
    'offline'
    """
    return "offline" if option_of(fingerprints, "text", "name") in PACKAGED_TEXT else "roberta"


def package_version(name: str) -> str:
    """Return the version of an installed package; "none" if there is none of that name.

    >>> package_version("no-such-package")
    'none'
    """
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
