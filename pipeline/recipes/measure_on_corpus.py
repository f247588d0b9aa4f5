"""Measure merc-offline on words, voices and faces, alone and together.

No voice, face or dialogue measured here was used in training. Every figure has a 95 % bootstrap
interval: over dialogues crossed with seeds, over clips, or over images.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import recall_score

from pipeline.core.dialogue import Dialogue
from pipeline.core.errors import MercError
from pipeline.core.failures import run_each
from pipeline.core.progress import Stage
from pipeline.corpora.meld_transcripts import EMOTIONS
from pipeline.recipes.acted_voices import VoicePool
from pipeline.recipes.paired import PairedCorpus, Rates, Words, pair
from pipeline.training.config import Configuration
from pipeline.training.fit import fit
from pipeline.training.linear_probe import probe
from pipeline.training.metrics import dialogue_confusions, interval, weighted_f1
from pipeline.training.predictor import Predictor, keep_modalities, modality_sets
from pipeline.training.protocols import Parts

__all__ = [
    "calibration",
    "faces_alone",
    "text_alone",
    "together",
    "voices_alone",
]

MISMATCHES = (0.0, 0.3, 0.6, 0.85, 1.0)
DRAWS = 2000  # bootstrap samples
BINS = 10  # of the calibration error
# the emotions that EmoDB's actors play
SIX = tuple(k for k, name in enumerate(EMOTIONS) if name != "surprise")


def text_alone(seeds: list[Predictor], corpus: PairedCorpus) -> dict[str, Any]:
    """Score the text of MELD dev, next to a logistic regression of single utterances.

    seeds: the model of every seed.
    """
    dialogues = []
    for dialogue, rows in zip(corpus.split("valid"), corpus.words["valid"].vectors, strict=True):
        text_only = keep_modalities(dialogue, ["text"])
        # in the corpus some text is missing, too
        dialogues.append(replace(text_only, features=text_only.features | {"text": rows}))
    baseline = _regression(corpus.words["train"], corpus.words["valid"])
    return _score(seeds, dialogues) | {"logistic_regression": baseline}


def together(seeds: list[Predictor], corpus: PairedCorpus) -> dict[str, Any]:
    """Score MELD dev with a voice and a face for every utterance, by how many of these are wrong.

    seeds: the model of every seed.
    """
    scores = {}
    for mismatch in MISMATCHES:
        rates = Rates.complete(mismatch)
        dialogues = corpus.draw("valid", np.random.default_rng(1), rates)
        scores[f"{mismatch:g}"] = _score(seeds, dialogues)
    return scores


def faces_alone(model: Predictor, corpus: PairedCorpus) -> dict[str, Any]:
    """Return the accuracy on FER+ valid without contempt: single images, uniform prior."""
    faces = corpus.faces["valid"]
    dialogues = [_single_face(model, row) for row in faces.vectors]
    predicted = np.array([model.probabilities(d, "uniform").argmax() for d in dialogues])
    correct = predicted == faces.labels
    draws = np.random.default_rng(0).integers(0, len(correct), (DRAWS, len(correct)))
    classes = np.unique(faces.labels)
    return {
        "images": len(correct),
        "accuracy": float(correct.mean()),
        "interval": _bounds(correct[draws].mean(1)),
        "recall": {EMOTIONS[k]: float(correct[faces.labels == k].mean()) for k in classes},
    }


def voices_alone(
    corpus: PairedCorpus, config: Configuration, folder: Path, jobs: int = 1
) -> dict[str, Any]:
    """Return the unweighted average recall (UAR) of six emotions for unseen EmoDB speakers.

    For each speaker, a CSS with audio as its only modality is trained in `folder` on all other
    voices, which always show the label here. It then labels the speaker's clips with a uniform
    prior and without surprise. The clips of one version (clean, or one distorted copy) make up one
    dialogue.
    """
    voices = corpus.voices
    assert voices is not None
    # EmoDB's speakers are numbers
    speakers = [str(name) for name in np.unique(voices.speakers) if name.isdigit()]
    predicted, failures = run_each(speakers, _Fold(corpus, config, folder), jobs=jobs)
    if failures:
        raise MercError(
            f"training without speaker {failures[0].input}: {failures[0].reason}",
            failures[0].remedy,
        )
    truth = [voices.only((name,)).labels for name in speakers]
    by_speaker: dict[str, Any] = {
        name: {"clips": len(labels)} for name, labels in zip(speakers, truth, strict=True)
    }
    result: dict[str, Any] = {"speakers": by_speaker}
    conditions = {"clean": [0], "distorted": list(range(1, voices.vectors.shape[1]))}
    for condition, copies in conditions.items():
        flat = [
            _flatten(labels, guesses, copies)
            for labels, guesses in zip(truth, predicted, strict=True)
        ]
        result[condition] = _uar_over_speakers(flat, [len(labels) for labels in truth])
        for name, (labels, guesses) in zip(speakers, flat, strict=True):
            recall = recall_score(
                labels, guesses, labels=np.unique(labels), average="macro", zero_division=0
            )
            by_speaker[name][condition] = float(recall)
    return result


def calibration(model: Predictor, corpus: PairedCorpus) -> dict[str, Any]:
    """Return the expected calibration error on MELD dev with and without temperatures.

    One entry per set of present modalities. The temperatures were fitted on the same dialogues,
    with other draws of voices and faces.
    """
    temperatures = model.checkpoint.temperatures
    untempered = Predictor(replace(model.checkpoint, temperatures={}), model.name)
    result = {}
    for name, temperature in temperatures.items():
        drawn = corpus.draw("valid", np.random.default_rng(2))
        dialogues = [keep_modalities(dialogue, name.split("+")) for dialogue in drawn]
        result[name] = {
            "temperature": temperature,
            "before": _calibration_error(untempered, dialogues, name),
            "after": _calibration_error(model, dialogues, name),
        }
    return result


class _Fold:
    """Train without one speaker, then label all clips of that speaker."""

    def __init__(self, corpus: PairedCorpus, config: Configuration, folder: Path) -> None:
        rates = Rates(voice=0.0, missing=(0.0,) * 3, missing_dialogue=(0.0,) * 3)
        self.corpus = replace(corpus, dialogues=[], rates=rates)
        self.config = replace(config, data=replace(config.data, modalities=["audio"]))
        self.folder = folder

    def __call__(self, speaker: str, stage: Stage) -> np.ndarray:
        """Return (clips, copies) predicted labels."""
        stage("train")
        corpus, voices = replace(self.corpus, held_out=(speaker,)), self.corpus.voices
        assert voices is not None
        # training voices choose the epoch, so that the speaker has no influence on it
        valid = pair(
            corpus.words["valid"],
            voices.without((speaker,)),
            corpus.faces["valid"],
            corpus.rates,
            np.random.default_rng(0),
            "valid",
        )
        folder = self.folder / f"without-{speaker}"
        fit(Parts(corpus, "clean", valid, []), self.config, self.config.train.seed, folder)
        model = Predictor.load(folder / "model.safetensors")
        return _label_clips(model, voices.only((speaker,)))


def _label_clips(model: Predictor, voices: VoicePool) -> np.ndarray:
    """Label the clips of one speaker: (clips, copies).

    Each copy is a dialogue of all clips, in an order that does not depend on the labels.
    """
    n, copies = voices.vectors.shape[:2]
    order = np.random.default_rng(0).permutation(n)
    predicted = np.empty((n, copies), np.int64)
    for copy in range(copies):
        clips = Dialogue(
            "voice",
            "test",
            [str(k) for k in order],
            ["one"] * n,
            [""] * n,
            np.full(n, -1),
            {"audio": voices.vectors[order, copy]},
        )
        probabilities = model.probabilities(clips, "uniform")[:, SIX]
        predicted[order, copy] = np.array(SIX)[probabilities.argmax(1)]
    return predicted


def _flatten(
    labels: np.ndarray, predicted: np.ndarray, copies: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Flatten (clips,) labels and (clips, copies) predictions to pairs, copy after copy."""
    return np.tile(labels, len(copies)), predicted[:, copies].T.ravel()


def _uar_over_speakers(
    flat: list[tuple[np.ndarray, np.ndarray]], clips: list[int]
) -> dict[str, Any]:
    """Return the UAR over all speakers.

    flat: of each speaker, labels and predictions (copies * clips,); clips: numbers of clips.
    """
    labels = np.concatenate([truth for truth, _ in flat])
    predicted = np.concatenate([guesses for _, guesses in flat])
    first = np.cumsum(clips) - clips
    numbers = []  # all copies of a clip have the same number
    for (truth, _), start, count in zip(flat, first, clips, strict=True):
        numbers.append(start + np.arange(len(truth)) % count)
    return {
        "uar": float(recall_score(labels, predicted, average="macro")),
        "interval": _bounds(_clip_bootstrap(labels, predicted, np.concatenate(numbers))),
    }


def _clip_bootstrap(truth: np.ndarray, predicted: np.ndarray, clips: np.ndarray) -> np.ndarray:
    """Return the UAR of DRAWS resamples of clips; all copies of a clip are drawn together."""
    n = clips.max() + 1
    counts = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), DRAWS)
    weights = counts[:, clips]
    recalls = []
    for label in np.unique(truth):
        of_label = weights * (truth == label)
        recalls.append((of_label @ (predicted == label)) / np.maximum(of_label.sum(1), 1))
    return np.mean(recalls, 0)


def _single_face(model: Predictor, row: np.ndarray) -> Dialogue:
    """Make a dialogue of one utterance that has this face and nothing else."""
    features = {m: np.full((1, width), np.nan, np.float32) for m, width in model.widths.items()}
    features["visual"] = row[None]
    return Dialogue("0", "test", ["0"], ["one"], [""], np.array([-1]), features)


def _score(seeds: list[Predictor], dialogues: list[Dialogue]) -> dict[str, Any]:
    truths = [dialogue.labels for dialogue in dialogues]
    counts = []
    for model in seeds:
        predicted = [model.probabilities(dialogue).argmax(1) for dialogue in dialogues]
        counts.append(dialogue_confusions(truths, predicted, len(EMOTIONS)))
    confusions = np.stack(counts)  # (seeds, dialogues, classes, classes)
    values = weighted_f1(confusions.sum(1))
    return {
        "weighted_f1": float(values.mean()),
        "sd": float(values.std(ddof=1)) if len(values) > 1 else 0.0,
        "interval": interval(confusions, DRAWS),
        "seeds": len(seeds),
        "utterances": int(sum(len(labels) for labels in truths)),
    }


def _regression(train: Words, valid: Words) -> float:
    """Return the weighted F1 of a logistic regression on standardised text vectors."""
    test = {"valid": np.concatenate(valid.vectors)}
    predicted = probe(np.concatenate(train.vectors), train.labels, test)["valid"]
    confusion = dialogue_confusions([valid.labels], [predicted], len(EMOTIONS))[0]
    return float(weighted_f1(confusion))


def _calibration_error(model: Predictor, dialogues: list[Dialogue], name: str) -> float:
    """Return the expected calibration error of the utterances whose modalities are `name`."""
    confidences, hits = [], []
    for dialogue in dialogues:
        rows = np.array([present == name for present in modality_sets(dialogue)], bool)
        probabilities = model.probabilities(dialogue)[rows]
        confidences.append(probabilities.max(1))
        hits.append(probabilities.argmax(1) == dialogue.labels[rows])
    confidence, hit = np.concatenate(confidences), np.concatenate(hits)
    bin_of = np.minimum((confidence * BINS).astype(int), BINS - 1)
    error = 0.0
    for number in np.unique(bin_of):
        rows = bin_of == number
        error += abs(hit[rows].mean() - confidence[rows].mean()) * rows.mean()
    return float(error)


def _bounds(values: np.ndarray) -> list[float]:
    return [float(value) for value in np.percentile(values, [2.5, 97.5])]
