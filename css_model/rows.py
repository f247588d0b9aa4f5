"""What a model reads of dialogues, as arrays: the rows of a modality, and who speaks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from css_model.speakers import number_speakers

__all__ = ["feature_rows", "name_of", "numbers_of_speakers"]


def feature_rows(
    dialogues: Sequence[Any], modality: str, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the features of all utterances, (N, width) float32, and which are present, (N,) bool.

    dialogues: see `css_model.collate`. Rows of missing features are zero.

    Raises ValueError with the name of the dialogue if features have another shape, or are partly
    NaN or infinite.
    """
    rows = np.concatenate([_rows(dialogue, modality, width) for dialogue in dialogues])
    present = ~np.isnan(rows).all(1) if width else np.zeros(len(rows), bool)
    rows[~present] = 0
    finite = np.isfinite(rows).all(1)
    if not finite.all():
        lengths = [len(dialogue.speakers) for dialogue in dialogues]
        index = int(np.flatnonzero(~finite)[0])
        number = int(np.searchsorted(np.cumsum(lengths), index, side="right"))
        raise ValueError(
            f"dialogue {name_of(dialogues[number])}: the {modality} feature of utterance "
            f"{index - sum(lengths[:number])} has values that are not finite; a missing "
            "feature is a row of NaN"
        )
    return rows, present


def numbers_of_speakers(dialogues: Sequence[Any], rows: str) -> np.ndarray:
    """Return the numbers of the speakers, (N,) int64; see `number_speakers`.

    Raises ValueError with the name of the dialogue if its speakers cannot be numbered.
    """
    numbers: list[int] = []
    for dialogue in dialogues:
        try:
            numbers += number_speakers(dialogue.speakers, rows)
        except ValueError as error:
            raise ValueError(f"dialogue {name_of(dialogue)}: {error}") from error
    return np.array(numbers, np.int64)


def name_of(dialogue: Any) -> str:
    """Return how an error message names a dialogue."""
    return repr(getattr(dialogue, "id", "?"))


def _rows(dialogue: Any, modality: str, width: int) -> np.ndarray:
    length = len(dialogue.speakers)
    rows = dialogue.features.get(modality)
    if rows is None:
        return np.full((length, width), np.nan, np.float32)
    if np.shape(rows) != (length, width):
        raise ValueError(
            f"dialogue {name_of(dialogue)}: {modality} features have shape {np.shape(rows)}, "
            f"expected {(length, width)}"
        )
    return np.array(rows, np.float32)
