"""The speakers of a dialogue as numbers."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["SPEAKER_ROWS", "number_speakers"]

SPEAKER_ROWS = ("appearance", "gender")
GENDERS = {"M": 0, "F": 1}


def number_speakers(speakers: Iterable[str], rows: str = "appearance") -> list[int]:
    """Number the speakers of a dialogue: by first appearance, or 0 for M and 1 for F ("gender").

    Raises ValueError for another name, with "gender".

    >>> number_speakers(["Ross", "Joey", "Ross"]), number_speakers(["F", "M", "F"], "gender")
    ([0, 1, 0], [1, 0, 1])
    """
    order: dict[str, int] = {}
    if rows == "appearance":
        return [order.setdefault(speaker, len(order)) for speaker in speakers]
    unknown = sorted(set(speakers := list(speakers)) - set(GENDERS))
    if unknown:
        raise ValueError(f"speaker {unknown[0]!r} is neither M nor F")
    return [GENDERS[speaker] for speaker in speakers]
