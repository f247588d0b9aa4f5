"""Numbers with their nouns."""

from __future__ import annotations

__all__ = ["counted"]


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun in the singular or the plural.

    plural: if it is not the noun with an s.

    >>> counted(1, "seed"), counted(2, "seed"), counted(0, "copy", "copies")
    ('1 seed', '2 seeds', '0 copies')
    """
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"
