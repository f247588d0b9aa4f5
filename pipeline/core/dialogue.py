"""The data that merc works on: words, utterances, segmentations, dialogues, corpora."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pipeline.core.errors import MercWarning
from pipeline.core.modalities import MODALITIES

__all__ = ["MODALITIES", "Corpus", "Dialogue", "Segmentation", "Utterance", "Word"]


@dataclass(frozen=True)
class Word:
    """A recognised word. Its text keeps the punctuation and the space before it.

    start and end are seconds of the original file; probability is the recogniser's.
    """

    start: float
    end: float
    text: str
    probability: float


@dataclass(frozen=True)
class Utterance:
    """One turn of one speaker; times in seconds of the original file.

    words: those of the text with their times, if it was recognised. Two utterances that differ only
        in them are equal.
    """

    start: float
    end: float
    text: str
    speaker: str = ""
    words: tuple[Word, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True)
class Segmentation:
    """The utterances of a recording, and how they were found.

    source is JSON-able and part of the fingerprint of every feature, so it holds no clock and no
    absolute path: {"kind": "transcript", "sha256": ...} or {"kind": "recognition", ...}.
    """

    utterances: list[Utterance]
    source: dict[str, Any]
    warnings: list[MercWarning] = field(default_factory=list)


@dataclass(frozen=True)
class Dialogue:
    """The n utterances of one recording in order, with their features.

    labels: (n,) int64, indices into `Corpus.labels`; -1 = context only (no loss, no metric).
    features: modality -> (n, width) float32; a row of NaN is a missing feature, an absent key a
        missing modality.
    times: (n, 2) in seconds, or None.
    odds: (c,) or None; the log of how much more frequent each class is where this dialogue comes
        from than in the corpus as a whole. Training corrects for it, so that such dialogues do
        not change the model's prior.
    """

    id: str
    split: str  # train, valid or test
    utterances: list[str]
    speakers: list[str]
    texts: list[str]
    labels: np.ndarray
    features: dict[str, np.ndarray]
    times: np.ndarray | None = None
    odds: np.ndarray | None = None

    @classmethod
    def from_segmentation(
        cls,
        id: str,
        segmentation: Segmentation,
        features: dict[str, np.ndarray],
        split: str = "test",
    ) -> Dialogue:
        """Build the unlabelled dialogue of a segmented recording."""
        utterances = segmentation.utterances
        return cls(
            id=id,
            split=split,
            utterances=[str(index) for index in range(len(utterances))],
            speakers=[utterance.speaker for utterance in utterances],
            texts=[utterance.text for utterance in utterances],
            labels=np.full(len(utterances), -1),
            features=features,
            times=np.array([(u.start, u.end) for u in utterances]).reshape(-1, 2),
        )

    def part(self, start: int, end: int) -> Dialogue:
        """Return the utterances from index start up to, but not including, end."""
        return replace(
            self,
            id=f"{self.id}/{start}",
            utterances=self.utterances[start:end],
            speakers=self.speakers[start:end],
            texts=self.texts[start:end],
            labels=self.labels[start:end],
            features={name: rows[start:end] for name, rows in self.features.items()},
            times=None if self.times is None else self.times[start:end],
        )


@dataclass(frozen=True)
class Corpus:
    """Labelled dialogues.

    widths: modality -> number of columns.
    fingerprints: modality -> what made the features; None if unknown (only widths are checked).
    notes: what a report on this corpus should state.
    settings: the defaults to train it with, as `training.config.load_configuration` takes them:
        a name in configs/, or a table folder with its own config.yaml.
    directions: modality -> (k, width), what normalisation erases; see `css_model.Normaliser`.
    """

    name: str
    labels: tuple[str, ...]
    dialogues: list[Dialogue]
    widths: dict[str, int]
    fingerprints: dict[str, dict[str, Any]] | None = None
    notes: list[str] = field(default_factory=list)
    settings: str = "table"
    directions: dict[str, np.ndarray] = field(default_factory=dict)

    def split(self, name: str) -> list[Dialogue]:
        """Return the dialogues of one split: train, valid or test."""
        return [dialogue for dialogue in self.dialogues if dialogue.split == name]

    def epoch(self, number: int, seed: int) -> list[Dialogue]:
        """Return the training dialogues of one epoch; a corpus that resamples overrides this."""
        return self.split("train")
