"""Score a trained model on a corpus."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.counts import counted
from pipeline.core.dialogue import Corpus, Dialogue
from pipeline.core.errors import MercError, UsageError
from pipeline.core.files import write_text
from pipeline.training.metrics import dialogue_confusions, interval
from pipeline.training.predictor import PRIORS, Predictor, modality_sets
from pipeline.training.summary import prediction_table, score_dialogues

__all__ = ["evaluate"]

SPLITS = ("train", "valid", "test")


def evaluate(
    model: str,
    corpus: Corpus,
    split: str = "test",
    prior: str = "train",
    predictions: Path | None = None,
) -> dict[str, Any]:
    """Score a model on one split of a corpus.

    The prediction is the most probable of all labels of the model, even if the corpus has fewer.

    Args:
        model: a run folder, a model file, or "merc-offline".
        split: "train", "valid" or "test".
        prior: "train" or "uniform"; see `Predictor.probabilities`.
        predictions: write every probability to this CSV file.

    Returns:
        accuracy, weighted_f1, macro_f1, macro_recall, per_class, confusion (rows are the truth),
        and what was scored.

    Raises:
        MercError: unusable options, no such model, features of another extractor, or labels that
            the model does not know.
        OSError: a file could not be read or written.
    """
    if split not in SPLITS:
        raise UsageError(f"unknown split {split!r}", f"choose {', '.join(SPLITS)}")
    if prior not in PRIORS:
        raise UsageError(f"unknown prior {prior!r}", f"choose {' or '.join(PRIORS)}")
    predictor = Predictor.load(model)
    predictor.check_widths(corpus.widths)
    predictor.check(corpus.fingerprints, known=False)
    dialogues = _with_labels_of(predictor, corpus, split)
    predictor.check_speakers(dialogues)
    probabilities = [predictor.probabilities(d, prior) for d in dialogues]
    guesses = [p.argmax(1) for p in probabilities]
    result = score_dialogues(dialogues, guesses, predictor.labels)
    counts = dialogue_confusions([d.labels for d in dialogues], guesses, len(predictor.labels))
    if predictions is not None:
        table = prediction_table(dialogues, probabilities, predictor.labels)
        write_text(Path(predictions), table.to_csv(index=False, lineterminator="\n"))
    comparable = predictor.fingerprints is not None and corpus.fingerprints is not None
    return result | {
        "model": predictor.name,
        "dataset": corpus.name,
        "split": split,
        "prior": prior,
        "labels": list(predictor.labels),
        "dialogues": len(dialogues),
        "weighted_f1_interval": interval(counts[None]),
        "fingerprints": "equal" if comparable else "unknown",
        "modalities": _shares_present(predictor, dialogues),
        "warnings": _warnings(predictor, corpus, dialogues),
    }


def _with_labels_of(predictor: Predictor, corpus: Corpus, split: str) -> list[Dialogue]:
    """Return the dialogues of a split with labels that index the model's.

    Raises MercError for labels that the model does not know, or a split without labels.
    """
    dialogues = corpus.split(split)
    if not any((d.labels >= 0).any() for d in dialogues):
        raise _no_labels(corpus, split)
    used = {int(k) for d in dialogues for k in d.labels if k >= 0}
    unknown = sorted(corpus.labels[k] for k in used if corpus.labels[k] not in predictor.labels)
    if unknown:
        raise MercError(
            f"{corpus.name}: has labels that {predictor.name} does not know: {', '.join(unknown)}",
            f"rename them in utterances.csv (it knows {', '.join(predictor.labels)}), or leave "
            "them empty (context only)",
        )
    index = [
        predictor.labels.index(label) if label in predictor.labels else -1
        for label in corpus.labels
    ]
    new_labels = np.array([*index, -1])  # the last entry maps -1 to itself
    return [replace(d, labels=new_labels[d.labels]) for d in dialogues]


def _no_labels(corpus: Corpus, split: str) -> MercError:
    labelled = [
        f"{name} ({counted(len(corpus.split(name)), 'dialogue')})"
        for name in SPLITS
        if any((d.labels >= 0).any() for d in corpus.split(name))
    ]
    remedy = f"choose with --split: {', '.join(labelled)}" if labelled else "label some"
    return MercError(f"{corpus.name}: the {split} split has no labelled utterance", remedy)


def _shares_present(predictor: Predictor, dialogues: list[Dialogue]) -> dict[str, float]:
    """Return the share of utterances that have each modality of the model."""
    total = sum(len(d.utterances) for d in dialogues)
    shares = {}
    for modality in predictor.widths:
        rows = [d.features[modality] for d in dialogues if modality in d.features]
        shares[modality] = sum(int((~np.isnan(r).all(1)).sum()) for r in rows) / total
    return shares


def _warnings(predictor: Predictor, corpus: Corpus, dialogues: list[Dialogue]) -> list[str]:
    unused = [m for m in corpus.widths if m not in predictor.widths]
    missing = [m for m in predictor.widths if m not in corpus.widths]
    without_features = 0
    for dialogue in dialogues:
        read = {m: rows for m, rows in dialogue.features.items() if m in predictor.widths}
        without_features += modality_sets(replace(dialogue, features=read)).count("")
    warnings = []
    if unused:
        warnings.append(f"the model does not read {', '.join(unused)}")
    if missing:
        warnings.append(f"the table has no {', '.join(missing)}: treated as missing")
    if without_features:
        count = counted(without_features, "utterance")
        warnings.append(f"the prior is given to {count} without any feature")
    return warnings
