"""JSON: the whole result."""

from __future__ import annotations

import json
from typing import Any

from pipeline.core.files import json_ready

__all__ = ["write"]


def write(result: dict[str, Any]) -> bytes:
    """Format a result as one JSON object."""
    text = json.dumps(json_ready(result), ensure_ascii=False, indent=1, allow_nan=False)
    return (text + "\n").encode("utf-8", "replace")
