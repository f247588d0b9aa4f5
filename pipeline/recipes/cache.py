"""Cache of arrays that are expensive to compute, named by everything they depend on.

It lies in merc's cache folder (`core.files.cache_folder`, moved by $XDG_CACHE_HOME) and may be
deleted at any time.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np

from pipeline.core.files import cache_folder, write_bytes
from pipeline.core.fingerprints import checksum

__all__ = ["cached"]


def cached(kind: str, key: dict[str, Any], compute: Callable[[], np.ndarray]) -> np.ndarray:
    """Return the array of this kind and key: read from the cache, or computed and stored there.

    key: JSON-able; everything that the values depend on (fingerprints, checksums of data, options).
    """
    path = cache_folder() / "paired" / f"{kind}-{checksum(key)[:32]}.npy"
    try:
        return np.load(path, allow_pickle=False)
    except (FileNotFoundError, ValueError, EOFError):
        pass  # missing or damaged: compute it again
    array = compute()
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_bytes(path, buffer.getvalue())
    return array
