"""`merc evaluate`: how good is a model on a table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.dialogue import Corpus, Dialogue
from pipeline.core.files import write_text
from pipeline.corpora import load_corpus
from pipeline.training.metrics import dialogue_confusions, interval
from pipeline.training.predictor import PRIORS, Predictor, modality_sets
from pipeline.training.summary import prediction_table, score_dialogues

__all__ = ["evaluate"]

SPLITS = ("train", "valid", "test")


def evaluate(
    model: str,
    dataset: Path,
    split: str = "test",
    prior: str = "train",
    predictions: Path | None = None,
) -> dict[str, Any]:
    """Scores of a model (run folder, file, or merc-offline) on one split of a table.

    The prediction is the largest of all the model's labels, also where the table lacks some.
    Raises ValueError or OSError with the remedy.
    """
    if split not in SPLITS:
        raise ValueError(f"no split {split!r}; choose {', '.join(SPLITS)}")
    if prior not in PRIORS:
        raise ValueError(f"no prior {prior!r}; choose {' or '.join(PRIORS)}")
    predictor = Predictor.load(model)
    corpus = load_corpus(str(dataset))
    predictor.check_widths(corpus.widths)
    predictor.check(corpus.fingerprints, known=False)
    dialogues = _labels_of(predictor, corpus, split)
    probabilities = [predictor.probabilities(d, prior) for d in dialogues]
    guesses = [p.argmax(1) for p in probabilities]
    result = score_dialogues(dialogues, guesses, predictor.labels)
    counts = dialogue_confusions([d.labels for d in dialogues], guesses, len(predictor.labels))
    if predictions is not None:
        table = prediction_table(dialogues, probabilities, predictor.labels, predictor.labels)
        write_text(Path(predictions), table.to_csv(index=False, lineterminator="\n"))
    known = predictor.fingerprints is not None and corpus.fingerprints is not None
    return result | {
        "model": predictor.name,
        "dataset": corpus.name,
        "split": split,
        "prior": prior,
        "labels": list(predictor.labels),
        "dialogues": len(dialogues),
        "weighted_f1_interval": interval(counts[None]),
        "fingerprints": "equal" if known else "unknown",
        "modalities": _presence(predictor, dialogues),
        "warnings": _warnings(predictor, corpus, dialogues),
    }


def _labels_of(predictor: Predictor, corpus: Corpus, split: str) -> list[Dialogue]:
    """The dialogues of a split, their labels renumbered as the model's.  Raises ValueError for labels it lacks."""
    dialogues = corpus.split(split)
    if not any((d.labels >= 0).any() for d in dialogues):
        there = [
            f"{name} ({len(corpus.split(name))} dialogues)"
            for name in SPLITS
            if any((d.labels >= 0).any() for d in corpus.split(name))
        ]
        raise ValueError(
            f"{corpus.name}: the {split} split has no labelled utterance; "
            + (f"labelled: {', '.join(there)}, say --split" if there else "label some")
        )
    used = {int(k) for d in dialogues for k in d.labels if k >= 0}
    unknown = sorted(corpus.labels[k] for k in used if corpus.labels[k] not in predictor.labels)
    if unknown:
        raise ValueError(
            f"{corpus.name} has labels that {predictor.name} does not know: {', '.join(unknown)}; it "
            f"knows {', '.join(predictor.labels)}. Rename them in utterances.csv, or empty them (context)"
        )
    number = np.array(
        [
            predictor.labels.index(label) if label in predictor.labels else -1
            for label in corpus.labels
        ]
        + [-1]
    )  # the last serves -1
    return [replace(d, labels=number[d.labels]) for d in dialogues]


def _presence(predictor: Predictor, dialogues: list[Dialogue]) -> dict[str, float]:
    """Share of utterances that have each modality of the model."""
    total = sum(len(d.utterances) for d in dialogues)
    return {
        m: sum(int((~np.isnan(d.features[m]).all(1)).sum()) for d in dialogues if m in d.features)
        / total
        for m in predictor.widths
    }


def _warnings(predictor: Predictor, corpus: Corpus, dialogues: list[Dialogue]) -> list[str]:
    unused = [m for m in corpus.widths if m not in predictor.widths]
    absent = [m for m in predictor.widths if m not in corpus.widths]
    bare = sum(
        modality_sets(
            replace(d, features={m: r for m, r in d.features.items() if m in predictor.widths})
        ).count("")
        for d in dialogues
    )
    return (
        ([f"the model does not read {', '.join(unused)}"] if unused else [])
        + ([f"the table has no {', '.join(absent)}: treated as missing"] if absent else [])
        + ([f"{bare} utterances have no feature at all and got the prior"] if bare else [])
    )
