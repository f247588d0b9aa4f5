"""Dialogues as one packed batch: the utterances of all dialogues in a row, without padding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from css_model.rows import feature_rows, name_of, numbers_of_speakers

__all__ = ["Batch", "collate"]


@dataclass(frozen=True)
class Batch:
    """N utterances of B dialogues, one dialogue after another.

    features: modality -> (N, width) float32; rows of missing features are zero and never read.
    present: modality -> (N,) bool.
    speakers: (N,) int64, their numbers within the dialogue (`css_model.speakers.number_speakers`).
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
    see `css_model.speakers.number_speakers`.

    Raises ValueError with the name of the dialogue if features have the wrong shape, or are partly
    NaN or infinite, or if its speakers cannot be numbered.
    """
    dialogues = list(dialogues)
    if not dialogues:
        raise ValueError("a batch needs at least one dialogue")
    features, present = {}, {}
    for name, width in widths if widths is not None else _all_widths(dialogues):
        rows, available = feature_rows(dialogues, name, width)
        features[name] = torch.from_numpy(rows)
        present[name] = torch.from_numpy(available)
    return Batch(
        features,
        present,
        torch.from_numpy(numbers_of_speakers(dialogues, speaker_rows)),
        [len(dialogue.speakers) for dialogue in dialogues],
        torch.cat([_labels(dialogue) for dialogue in dialogues]),
    )


def _all_widths(dialogues: Sequence[Any]) -> list[tuple[str, int]]:
    widths: dict[str, int] = {}
    for dialogue in dialogues:
        for name, rows in dialogue.features.items():
            widths.setdefault(name, np.shape(rows)[-1])
    return list(widths.items())


def _labels(dialogue: Any) -> Tensor:
    labels = np.asarray(dialogue.labels).reshape(-1)
    if len(labels) != len(dialogue.speakers):
        raise ValueError(
            f"dialogue {name_of(dialogue)}: {len(labels)} labels for "
            f"{len(dialogue.speakers)} utterances"
        )
    return torch.from_numpy(labels.astype(np.int64))
