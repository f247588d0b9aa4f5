"""What is fitted to the training part before the model: normalisation, columns, class counts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.special import logsumexp

from css_model import Normaliser, inverse_frequency
from pipeline.core.dialogue import Dialogue
from pipeline.training.column_selection import select_columns
from pipeline.training.config import DataConfig
from pipeline.training.predictor import prepare
from pipeline.training.protocols import Parts, available_modalities, count_labels
from pipeline.training.start import Start

__all__ = ["Inputs", "class_weights", "fit_inputs", "log_prior"]

POWERS = {"none": 0.0, "mild": 0.25, "inverse": 1.0}  # train.class_weights


@dataclass(frozen=True)
class Inputs:
    """How dialogues are turned into what the model reads.

    widths: modality -> width of the features, before columns are selected.
    counts: (classes,) labelled training utterances.
    """

    widths: dict[str, int]
    normaliser: Normaliser
    counts: np.ndarray

    @property
    def model_widths(self) -> tuple[tuple[str, int], ...]:
        """(modality, width) after columns are selected, as `CSSConfig` takes them."""
        return tuple(self.normaliser.widths(self.widths).items())

    def prepare(self, dialogues: Iterable[Dialogue]) -> list[Dialogue]:
        """Keep the model's modalities and normalise them."""
        return [prepare(dialogue, self.widths, self.normaliser) for dialogue in dialogues]


def fit_inputs(parts: Parts, config: DataConfig, seed: int, start: Start | None = None) -> Inputs:
    """Fit normalisation and column selection to the training dialogues of the first epoch.

    start: take both from this model instead: its weights expect them, and a few dialogues make
        poor statistics.

    Raises MercError if the corpus has none of `data.modalities`, or too few audio columns.
    """
    corpus, dialogues = parts.corpus, parts.train(0, seed)
    # dialogues with class odds of their own do not count: the model predicts for the corpus
    counts = count_labels([d for d in dialogues if d.odds is None], len(corpus.labels))
    if start is not None:
        return Inputs(start.widths, start.checkpoint.normaliser, counts)
    modalities = available_modalities(corpus, config.modalities)
    widths = {modality: corpus.widths[modality] for modality in modalities}
    columns = None
    if config.select_audio and "audio" in widths:
        columns = {"audio": select_columns(dialogues, "audio", config.select_audio)}
    methods = {modality: getattr(config, f"normalise_{modality}") for modality in widths}
    normaliser = Normaliser(methods, columns=columns, directions=corpus.directions).fit(
        replace(d, features={m: rows for m, rows in d.features.items() if m in widths})
        for d in dialogues
    )
    return Inputs(widths, normaliser, counts)


def class_weights(counts: np.ndarray, choice: str) -> torch.Tensor | None:
    """Return the (classes,) weights of the losses; None for choice "none"."""
    if not POWERS[choice]:
        return None
    labels = torch.from_numpy(np.repeat(np.arange(len(counts)), counts))
    return inverse_frequency(labels, len(counts), POWERS[choice])


def log_prior(counts: np.ndarray, choice: str) -> np.ndarray:
    """Return the (classes,) log prior that a model trained with these class weights learns.

    >>> np.exp(log_prior(np.array([8, 2]), "none")).round(2)
    array([0.75, 0.25])
    >>> np.exp(log_prior(np.array([8, 2]), "inverse")).round(2)
    array([0.5, 0.5])
    """
    prior = (1 - POWERS[choice]) * np.log(counts + 1)
    return prior - logsumexp(prior)
