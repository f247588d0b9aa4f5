"""JSON: the whole result, the contract of the documentation."""

from __future__ import annotations

import json
from typing import Any

from pipeline.core.files import json_ready

__all__ = ["write"]


def write(result: dict[str, Any]) -> bytes:
    return (
        json.dumps(json_ready(result), ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    ).encode("utf-8", "replace")
