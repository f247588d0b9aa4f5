"""Check the arguments of functions; typer checks those of the command line."""

from __future__ import annotations

import math
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from pipeline.core.errors import UsageError

__all__ = ["number_between", "number_of_speakers", "path_of"]


def number_between(name: str, value: Any, low: float, high: float = math.inf) -> float:
    """Return a number from `low` to `high`; raise UsageError for anything else.

    >>> number_between("idle", 5, 0)
    5.0
    """
    if isinstance(value, Real) and not isinstance(value, bool) and low <= float(value) <= high:
        return float(value)
    limits = f"of at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
    raise UsageError(f"{name} {value!r}", f"choose a number {limits}")


def number_of_speakers(value: Any) -> int | None:
    """Return how many speakers there are, or None; raise UsageError for anything else.

    >>> number_of_speakers(2)
    2
    """
    if value is None:
        return None
    if isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1:
        return int(value)
    raise UsageError(f"number of speakers {value!r}", "choose a whole number of at least 1")


def path_of(name: str, value: Any) -> Path:
    """Return a path. Raises UsageError for anything but a str or Path.

    >>> path_of("recording", "talk.mp4")
    PosixPath('talk.mp4')
    """
    if not isinstance(value, (str, Path)):
        raise UsageError(f"{name} {value!r}: not a path", "give a str or a pathlib.Path")
    return Path(value)
