"""Inspect the values of an unpickled file, which may be of any type."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

__all__ = ["as_text", "is_list_of_numbers", "is_sequence", "printable"]


def printable(value: Any) -> str:
    """Return a value as it can stand in a message: short, without control characters.

    >>> printable("a" + chr(10) + "b")
    'a\\\\nb'
    """
    if isinstance(value, int) and abs(value) > 10**60:  # Python refuses to print huge integers
        return "a number of more than 60 digits"
    return str(value)[:60].encode("unicode_escape").decode()


def as_text(value: Any) -> str:
    """Return a value as text that can be written to a UTF-8 file.

    Python 2 stored 8-bit strings without their encoding, and unpickling reads them as latin-1. They
    are decoded again: as UTF-8, else as cp1252.

    >>> as_text("caf\\xc3\\xa9"), as_text("it\\x92s")
    ('café', 'it’s')
    """
    huge = isinstance(value, int) and abs(value) > 10**60
    text = value.decode("latin1") if isinstance(value, bytes) else str(value if not huge else "?")
    if not text.isascii() and all(ord(c) < 256 for c in text):
        for encoding in ("utf-8", "cp1252"):
            with contextlib.suppress(UnicodeDecodeError):
                return text.encode("latin1").decode(encoding)
    return text.encode("utf-8", "replace").decode()


def is_sequence(value: Any) -> bool:
    """Say whether a value has items, text excepted."""
    if isinstance(value, np.ndarray):
        return value.ndim > 0
    return isinstance(value, (list, tuple, set, frozenset))


def is_list_of_numbers(value: Any) -> bool:
    """Say whether a value is one vector.

    >>> is_list_of_numbers([1.0, 2]), is_list_of_numbers([[1.0], [2.0]])
    (True, False)
    """
    if isinstance(value, np.ndarray):
        return value.ndim == 1 and value.dtype.kind in "fiu"
    if not isinstance(value, (list, tuple)):
        return False
    return all(isinstance(item, (int, float, np.number)) for item in value)
