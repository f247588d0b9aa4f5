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

__all__ = [
    "AudioExtractor",
    "TextExtractor",
    "VisualExtractor",
]

# imported on first use: torch, transformers, openSMILE and OpenCV together take seconds
_HOMES = {
    "TextExtractor": "extractors.text",
    "AudioExtractor": "extractors.audio",
    "VisualExtractor": "extractors.visual",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'extractors' has no attribute {name!r}")
