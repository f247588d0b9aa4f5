"""JSON: the whole result, the contract of the documentation."""

from __future__ import annotations

import json
import math
from typing import Any

__all__ = ["plain", "write"]


def write(result: dict[str, Any]) -> bytes:
    return (json.dumps(plain(result), ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode(
        "utf-8", "replace")


def plain(value: Any) -> Any:
    """numpy scalars as Python's, and what is not finite as null: JSON has no NaN."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
