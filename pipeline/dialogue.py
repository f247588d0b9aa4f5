"""The words of merc as data: an utterance, a segmentation, a dialogue with features, a corpus."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["MODALITIES", "Corpus", "Dialogue", "Segmentation", "Utterance"]

MODALITIES = ("text", "audio", "visual")


@dataclass(frozen=True)
class Utterance:
    """One turn of one speaker; times in seconds of the original file."""

    start: float
    end: float
    text: str
    speaker: str = ""


@dataclass(frozen=True)
class Segmentation:
    """What was said when, and how that is known.

    source is JSON-able, holds no clock and no absolute path, and enters the fingerprint of every feature:
    {"kind": "transcript", "sha256": …} or {"kind": "recognition", "model": …, "sha256": …, "speakers": …}.
    """

    utterances: list[Utterance]
    source: dict[str, Any]
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Dialogue:
    """Utterances of one medium in order, with features.

    labels (n,) int64 indexes `Corpus.labels`, -1 = context only (no loss, no metric).
    features: modality -> (n, width) float32; a row of NaN is a missing feature, an absent key a missing modality.
    times (n, 2) seconds, or None.
    odds (c,), or None: log of how much more frequent each label is where this dialogue comes from than in the corpus at
    large; training takes it into account, so that such dialogues leave the model's prior as it is.
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


@dataclass(frozen=True)
class Corpus:
    """Labelled dialogues.  fingerprints: modality -> what made it, or None when unknown (only widths are checked).

    notes: what a report on the corpus should say.
    """

    name: str
    labels: tuple[str, ...]
    dialogues: list[Dialogue]
    widths: dict[str, int]
    fingerprints: dict[str, dict[str, Any]] | None = None
    notes: list[str] = field(default_factory=list)

    def split(self, name: str) -> list[Dialogue]:
        return [dialogue for dialogue in self.dialogues if dialogue.split == name]

    def epoch(self, number: int, seed: int) -> list[Dialogue]:
        """The training dialogues of one epoch; a corpus that draws anew (`paired`) overrides this."""
        return self.split("train")

    def with_sessions(self, count: int) -> Corpus:
        """The same with another number of sessions without words an epoch; `paired` alone has any (ValueError)."""
        raise ValueError(f"data.sessions={count}: {self.name} has none, only paired does")
