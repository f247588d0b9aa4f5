"""Turn decoded media into one feature vector per utterance: text, audio and visual."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from extractors.audio import AudioExtractor
    from extractors.text import TextExtractor
    from extractors.visual import VisualExtractor

__all__ = ["AudioExtractor", "TextExtractor", "VisualExtractor"]

# imported on first use: torch, transformers, openSMILE and OpenCV together take seconds
_MODULES = {
    "AudioExtractor": "extractors.audio",
    "TextExtractor": "extractors.text",
    "VisualExtractor": "extractors.visual",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'extractors' has no attribute {name!r}")
