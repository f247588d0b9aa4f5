"""Dialogues as one packed batch: the utterances of all of them in a row, without padding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Batch", "collate"]


@dataclass(frozen=True)
class Batch:
    """N utterances of B dialogues, one after another.

    features: modality -> (N, width) float32 (rows of missing features are zero and never looked at).
    present: modality -> (N,) bool.  speakers: (N,) int64, order of first appearance within the dialogue.
    lengths: utterances of each dialogue (their sum is N).  labels: (N,) int64, -1 = context only.
    """

    features: dict[str, Tensor]
    present: dict[str, Tensor]
    speakers: Tensor
    lengths: list[int]
    labels: Tensor

    def __len__(self) -> int:
        return self.speakers.shape[0]

    def to(self, device: torch.device | str) -> Batch:
        return Batch(
            {name: rows.to(device) for name, rows in self.features.items()},
            {name: rows.to(device) for name, rows in self.present.items()},
            self.speakers.to(device),
            self.lengths,
            self.labels.to(device),
        )

    @property
    def known(self) -> Tensor:
        """(N,) bool: utterances with at least one modality; the others carry no evidence and no loss."""
        known = torch.zeros(len(self), dtype=torch.bool, device=self.speakers.device)
        for rows in self.present.values():
            known = known | rows
        return known


def collate(dialogues: Iterable[Any], widths: Sequence[tuple[str, int]] | None = None) -> Batch:
    """Pack dialogues (objects with `features`, `speakers`, `labels`, as `pipeline.core.dialogue.Dialogue`).

    A row of NaN, or an absent modality, is missing.  widths: the modalities wanted (default: all that occur).
    Raises ValueError naming the dialogue for features of the wrong size or partly not finite.
    """
    dialogues = list(dialogues)
    if not dialogues:
        raise ValueError("a batch needs at least one dialogue")
    if widths is None:
        found: dict[str, int] = {}
        for dialogue in dialogues:
            for name, rows in dialogue.features.items():
                found.setdefault(name, np.shape(rows)[-1])
        widths = list(found.items())
    lengths = [len(dialogue.speakers) for dialogue in dialogues]
    features, present = {}, {}
    for name, width in widths:
        blocks = [_rows(dialogue, name, width) for dialogue in dialogues]
        rows = np.concatenate(blocks) if blocks else np.zeros((0, width), np.float32)
        there = ~np.isnan(rows).all(1) if width else np.zeros(len(rows), bool)
        rows[~there] = 0
        if not np.isfinite(rows).all():
            bad = int(np.flatnonzero(~np.isfinite(rows).all(1))[0])
            number = int(np.searchsorted(np.cumsum(lengths), bad, side="right"))
            raise ValueError(
                f"dialogue {_name(dialogues[number])}: utterance {bad - sum(lengths[:number])} has "
                f"values in its {name} feature that are not finite; a missing feature is a row of NaN"
            )
        features[name] = torch.from_numpy(rows)
        present[name] = torch.from_numpy(there)
    speakers = [index for dialogue in dialogues for index in _first_appearance(dialogue.speakers)]
    labels = []
    for dialogue, length in zip(dialogues, lengths, strict=True):
        own = np.asarray(dialogue.labels).reshape(-1)
        if len(own) != length:
            raise ValueError(
                f"dialogue {_name(dialogue)}: {len(own)} labels for {length} utterances"
            )
        labels.append(torch.from_numpy(own.astype(np.int64)))
    return Batch(
        features, present, torch.tensor(speakers, dtype=torch.long), lengths, torch.cat(labels)
    )


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


def _first_appearance(speakers: Iterable[str]) -> list[int]:
    order: dict[str, int] = {}
    return [order.setdefault(speaker, len(order)) for speaker in speakers]


def _name(dialogue: Any) -> str:
    return repr(getattr(dialogue, "id", "?"))
