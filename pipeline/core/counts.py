"""Numbers with their nouns."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["counted", "utterances_at"]

MAX_TIMES = 5  # named by `utterances_at`


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun in the singular or the plural.

    plural: if it is not the noun with an s.

    >>> counted(1, "seed"), counted(2, "seed"), counted(0, "copy", "copies")
    ('1 seed', '2 seeds', '0 copies')
    """
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def utterances_at(starts: Sequence[float]) -> str:
    """Say how many utterances there are, and when the first of them start, in seconds.

    >>> utterances_at([1.26]), utterances_at([1, 2])
    ('1 utterance, at 1.3 s', '2 utterances, at 1.0, 2.0 s')
    """
    first = ", ".join(f"{start:.1f}" for start in starts[:MAX_TIMES])
    more = ", ..." if len(starts) > MAX_TIMES else ""
    return f"{counted(len(starts), 'utterance')}, at {first}{more} s"
