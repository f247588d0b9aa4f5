"""Arrays that are dear to make, kept in merc's cache under a name made of all they depend on.

The cache (`files.cache_folder`, moved with $XDG_CACHE_HOME) may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from pipeline.core.files import cache_folder, write_bytes

__all__ = [
    "cached",
]


def cached(kind: str, key: dict[str, Any], make: Callable[[], np.ndarray]) -> np.ndarray:
    """The array of this kind and key: read when it is there, else made and written atomically.

    key: JSON-able, everything the values depend on (fingerprints, hashes of data, options).
    """
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    path = cache_folder() / "paired" / f"{kind}-{digest[:32]}.npy"
    try:
        return np.load(path, allow_pickle=False)
    except (
        FileNotFoundError,
        ValueError,
        EOFError,
    ):  # absent, or damaged by other hands: made anew
        pass
    array = make()
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_bytes(path, buffer.getvalue())
    return array
