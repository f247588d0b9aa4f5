"""Dialogues as one packed batch: the utterances of all dialogues in a row, without padding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["SPEAKER_ROWS", "Batch", "collate", "number_speakers"]

SPEAKER_ROWS = ("appearance", "gender")
GENDERS = {"M": 0, "F": 1}


@dataclass(frozen=True)
class Batch:
    """N utterances of B dialogues, one dialogue after another.

    features: modality -> (N, width) float32; rows of missing features are zero and never read.
    present: modality -> (N,) bool.
    speakers: (N,) int64, the number of the speaker within the dialogue (`number_speakers`).
    lengths: number of utterances of each dialogue; their sum is N.
    labels: (N,) int64; -1 means that the utterance is context only.
    """

    features: dict[str, Tensor]
    present: dict[str, Tensor]
    speakers: Tensor
    lengths: list[int]
    labels: Tensor

    def __len__(self) -> int:
        return self.speakers.shape[0]

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on another device."""
        return Batch(
            {name: rows.to(device) for name, rows in self.features.items()},
            {name: rows.to(device) for name, rows in self.present.items()},
            self.speakers.to(device),
            self.lengths,
            self.labels.to(device),
        )

    @property
    def known(self) -> Tensor:
        """(N,) bool: utterances with at least one modality. Others add nothing to the losses."""
        known = torch.zeros(len(self), dtype=torch.bool, device=self.speakers.device)
        for rows in self.present.values():
            known = known | rows
        return known


def collate(
    dialogues: Iterable[Any],
    widths: Sequence[tuple[str, int]] | None = None,
    speaker_rows: str = "appearance",
) -> Batch:
    """Pack dialogues into a batch.

    dialogues: objects with `features` (modality -> (n, width)), `speakers` (n names) and `labels`
    (n,), such as `pipeline.core.dialogue.Dialogue`. A row of NaN, or a modality that is not in
    `features`, is missing. widths: the modalities to pack; default: all that occur. speaker_rows:
    see `number_speakers`.

    Raises ValueError with the name of the dialogue if features have the wrong shape, or are partly
    NaN or infinite, or if its speakers cannot be numbered.
    """
    dialogues = list(dialogues)
    if not dialogues:
        raise ValueError("a batch needs at least one dialogue")
    lengths = [len(dialogue.speakers) for dialogue in dialogues]
    features, present = {}, {}
    for name, width in widths if widths is not None else _all_widths(dialogues):
        rows = np.concatenate([_rows(dialogue, name, width) for dialogue in dialogues])
        available = ~np.isnan(rows).all(1) if width else np.zeros(len(rows), bool)
        rows[~available] = 0
        finite = np.isfinite(rows).all(1)
        if not finite.all():
            index = int(np.flatnonzero(~finite)[0])
            number = int(np.searchsorted(np.cumsum(lengths), index, side="right"))
            raise ValueError(
                f"dialogue {_name(dialogues[number])}: the {name} feature of utterance "
                f"{index - sum(lengths[:number])} has values that are not finite; a missing "
                "feature is a row of NaN"
            )
        features[name] = torch.from_numpy(rows)
        present[name] = torch.from_numpy(available)
    speakers = [row for dialogue in dialogues for row in _speakers(dialogue, speaker_rows)]
    return Batch(
        features,
        present,
        torch.tensor(speakers, dtype=torch.long),
        lengths,
        torch.cat([_labels(dialogue) for dialogue in dialogues]),
    )


def _all_widths(dialogues: Sequence[Any]) -> list[tuple[str, int]]:
    widths: dict[str, int] = {}
    for dialogue in dialogues:
        for name, rows in dialogue.features.items():
            widths.setdefault(name, np.shape(rows)[-1])
    return list(widths.items())


def _rows(dialogue: Any, name: str, width: int) -> np.ndarray:
    length = len(dialogue.speakers)
    rows = dialogue.features.get(name)
    if rows is None:
        return np.full((length, width), np.nan, np.float32)
    if np.shape(rows) != (length, width):
        raise ValueError(
            f"dialogue {_name(dialogue)}: {name} features have shape {np.shape(rows)}, "
            f"expected {(length, width)}"
        )
    return np.array(rows, np.float32)


def _labels(dialogue: Any) -> Tensor:
    labels = np.asarray(dialogue.labels).reshape(-1)
    if len(labels) != len(dialogue.speakers):
        raise ValueError(
            f"dialogue {_name(dialogue)}: {len(labels)} labels for "
            f"{len(dialogue.speakers)} utterances"
        )
    return torch.from_numpy(labels.astype(np.int64))


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


def _speakers(dialogue: Any, rows: str) -> list[int]:
    try:
        return number_speakers(dialogue.speakers, rows)
    except ValueError as error:
        raise ValueError(f"dialogue {_name(dialogue)}: {error}") from error


def _name(dialogue: Any) -> str:
    return repr(getattr(dialogue, "id", "?"))
