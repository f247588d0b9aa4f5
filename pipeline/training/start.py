"""Start a training from a trained model (`merc train --start`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from css_model import Checkpoint, CSSConfig
from pipeline.core.counts import counted
from pipeline.core.dialogue import MODALITIES, Corpus, Dialogue
from pipeline.core.errors import MercError
from pipeline.training.config import (
    Configuration,
    DataConfig,
    model_section,
    start_configuration,
)
from pipeline.training.predictor import Predictor

__all__ = ["Start", "load_start"]

PSEUDO, FEW_PSEUDO = 30.0, 300.0  # utterances; see `Start.counts`
FREE = {"dropout", "feature_dropout", "split_seed", "left"}  # settings that need not be the model's


@dataclass(frozen=True)
class Start:
    """A trained model to start from.

    widths: modality -> width of the features as extracted.
    """

    name: str
    checkpoint: Checkpoint
    widths: dict[str, int]

    def configuration(self, overrides: list[str] | None = None) -> Configuration:
        """Return the settings to adapt this model: configs/adapt.yaml, and overrides.

        Raises MercError for an override of what the model decides.
        """
        base = self._base()
        config = start_configuration(base, overrides)
        for section in ("data", "model"):
            given, own = vars(getattr(config, section)), vars(getattr(base, section))
            for key in sorted(set(own) - FREE):
                if given[key] != own[key]:
                    raise MercError(
                        f"{section}.{key} = {given[key]}: {self.name}, which training starts from, "
                        f"has {own[key]}",
                        "leave it out, or train without --start",
                    )
        return config

    def fingerprints(self, corpus: Corpus) -> dict[str, dict[str, Any]] | None:
        """Return what makes the features of the adapted model; None if it is not known."""
        own = self.checkpoint.fingerprints
        if own is None or corpus.fingerprints is None:
            return None
        return own | {m: made for m, made in corpus.fingerprints.items() if m in own}

    def counts(self, labels: Sequence[str], counts: np.ndarray, few: bool) -> np.ndarray:
        """Return label counts (c,) as if PSEUDO more utterances had the frequencies of this model.

        A few dialogues say little about how frequent a class is. A new class counts as 1 of c.
        few: FEW_PSEUDO more.
        """
        old = dict(
            zip(self.checkpoint.config.labels, np.exp(self.checkpoint.log_prior), strict=True)
        )
        share = np.array([old.get(label, 1 / len(labels)) for label in labels], np.float64)
        return counts + (FEW_PSEUDO if few else PSEUDO) * share / share.sum()

    def class_weights(self, labels: Sequence[str], counts: np.ndarray) -> np.ndarray:
        """Return (c,) weights that give few training utterances the frequencies of `counts`.

        They may be nearly all of one class, which is not to be learned.
        """
        wanted = self.counts(labels, counts, few=True)
        shares = wanted / wanted.sum() * counts.sum()
        return np.where(counts > 0, shares / np.maximum(counts, 1), 1.0)

    def mixture(self, labels: Sequence[str], dialogues: Sequence[Dialogue]) -> np.ndarray:
        """Return (c, classes of this model): what the classes to train are made of at first.

        A class of the same name stays. A new one is made of what this model says about its
        utterances, with all classes equally likely; without any, it has no evidence.
        """
        old = self.checkpoint.config.labels
        predictor = Predictor(self.checkpoint, self.name)
        readings = np.concatenate([predictor.probabilities(d, "uniform") for d in dialogues])
        truth = np.concatenate([d.labels for d in dialogues])
        rows = np.zeros((len(labels), len(old)))
        for k, label in enumerate(labels):
            if label in old:
                rows[k, old.index(label)] = 1
            elif (truth == k).any():
                rows[k] = readings[truth == k].mean(0)
        return rows

    def head_only(self, config: Configuration, counts: np.ndarray) -> bool:
        """Say whether only the output layers are trained. counts: (c,) training utterances."""
        return bool(counts.sum() < config.train.head_only_below)

    def notes(self, corpus: Corpus, config: Configuration, counts: np.ndarray) -> list[str]:
        """Return what the card of the run should state. counts: (c,) training utterances."""
        old = self.checkpoint.config.labels
        groups = {
            "Classes that keep their outputs": [label for label in corpus.labels if label in old],
            "New classes": [label for label in corpus.labels if label not in old],
            "Classes of the start that are dropped": [x for x in old if x not in corpus.labels],
        }
        parts = [f"{title}: {', '.join(names)}." for title, names in groups.items() if names]
        notes = [f"Training started from {self.name}. {' '.join(parts)}"]
        if self.head_only(config, counts):
            total = counted(int(counts.sum()), "labelled training utterance")
            notes.append(
                f"Only the output layers were trained: {total}, fewer than "
                f"train.head_only_below = {config.train.head_only_below}."
            )
        if missing := [modality for modality in self.widths if modality not in corpus.widths]:
            notes.append(
                f"The corpus has no {', '.join(missing)}; what the model knows about it is that of "
                "the start."
            )
        if unused := [modality for modality in corpus.widths if modality not in self.widths]:
            notes.append(f"The start does not read {', '.join(unused)}, so they are not used.")
        if self.fingerprints(corpus) is None:
            side = "the corpus" if corpus.fingerprints is None else "the start"
            notes.append(
                f"What made the features of {side} is not known, so only their widths were "
                "compared, and `merc label` refuses this model."
            )
        return notes

    def _base(self) -> Configuration:
        model = self.checkpoint.config
        normaliser = self.checkpoint.normaliser
        options = {
            item.name: getattr(model, item.name)
            for item in fields(model)
            if item.name not in ("widths", "labels")
        }
        data = DataConfig(
            modalities=list(model.modalities),
            select_audio=len(normaliser.columns.get("audio", ())),
        )
        for name in MODALITIES:
            setattr(data, f"normalise_{name}", normaliser.method_of(name))
        return replace(Configuration(), data=data, model=model_section("css")(**options))


def load_start(source: str | Path, corpus: Corpus) -> Start:
    """Load a run folder, a model file, or "merc-offline" to adapt it to a corpus.

    Raises MercError if there is no such model, if it is not CSS, or if it was trained on other
    features than those of the corpus.
    """
    predictor = Predictor.load(source)
    if not isinstance(predictor.checkpoint.config, CSSConfig):
        raise MercError(
            f"{predictor.name}: a model of {predictor.checkpoint.config.MODEL}; training can start "
            "from CSS only",
            "name a run of CSS, or train without --start",
        )
    predictor.check_widths(corpus.widths)
    predictor.check(corpus.fingerprints, known=False)
    return Start(predictor.name, predictor.checkpoint, predictor.widths)
