"""Fonts for text on pictures: DejaVu Sans, which comes with matplotlib, or what the system has."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from PIL import ImageFont

__all__ = ["find_font", "undrawable"]


def find_font(text: str, size: int) -> Any:
    """Return a font of `size` pixels that has the characters of a text, or most of them.

    >>> find_font("joy", 20).getbbox("joy")[3] <= 25
    True
    """
    characters = frozenset(ord(c) for c in text if not c.isspace())
    return _load(str(_path_for(characters)), size)


def undrawable(text: str) -> str:
    """Return the characters of a text that no font here has.

    >>> undrawable("naïve"), undrawable("\\U0010fffd")
    ('', '\\U0010fffd')
    """
    characters = frozenset(ord(c) for c in text if not c.isspace())
    missing = characters - _characters(_path_for(characters))
    return "".join(sorted(map(chr, missing)))


@cache
def _path_for(characters: frozenset[int]) -> Path:
    """Return the font that has most of the characters, DejaVu Sans if it is as good."""
    best, fewest = next(_fonts()), len(characters) + 1
    for path in _fonts():
        missing = len(characters - _characters(path))
        if missing < fewest:
            best, fewest = path, missing
        if not missing:
            break
    return best


def _fonts() -> Iterator[Path]:
    import matplotlib

    yield Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    yield from _system_fonts()


@cache
def _system_fonts() -> tuple[Path, ...]:
    from matplotlib.font_manager import findSystemFonts

    return tuple(sorted(map(Path, findSystemFonts())))


@cache
def _characters(path: Path) -> frozenset[int]:
    """Return the characters of a font; none of one that cannot be read."""
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(str(path)).get_charmap())
    except (RuntimeError, OSError, ValueError):
        return frozenset()


@cache
def _load(path: str, size: int) -> Any:
    return ImageFont.truetype(path, size)
