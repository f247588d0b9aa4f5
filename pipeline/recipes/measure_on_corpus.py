"""Measure merc-offline on words, voices and faces, alone and together.

No voice, face or dialogue measured here was used in training. Every figure has a 95 % bootstrap
interval: over dialogues crossed with seeds, over clips, or over images.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.metrics import recall_score

from pipeline.core.dialogue import Dialogue
from pipeline.corpora.meld_transcripts import EMOTIONS, Transcript
from pipeline.recipes.acted_voices import VERSIONS, VoicePool
from pipeline.recipes.other_words import TABLES
from pipeline.recipes.paired import PairedCorpus, Rates, Words
from pipeline.training.calibration import calibration_error
from pipeline.training.linear_probe import probe
from pipeline.training.metrics import dialogue_confusions, interval, weighted_f1
from pipeline.training.predictor import Predictor, keep_modalities, modality_sets, prepare

__all__ = [
    "calibration",
    "corpus_shows",
    "faces_alone",
    "label_voices",
    "neutral_words",
    "normalised_voices",
    "other_words_alone",
    "recall",
    "text_alone",
    "together",
    "voices_alone",
]

MISMATCHES = (0.0, 0.3, 0.6, 0.85, 1.0)
DRAWS = 2000  # bootstrap samples


def text_alone(seeds: list[Predictor], corpus: PairedCorpus) -> dict[str, Any]:
    """Score the text of MELD dev, next to a logistic regression of single utterances.

    seeds: the model of every seed.
    """
    words = corpus.words["valid"]
    pairs = zip(words.transcripts, words.vectors, strict=True)
    dialogues = [_text_dialogue(transcript, rows) for transcript, rows in pairs]
    baseline = _regression(corpus.words["train"], words)
    return _score(seeds, dialogues) | {"logistic_regression": baseline}


def other_words_alone(model: Predictor, corpus: PairedCorpus) -> dict[str, Any]:
    """Return the accuracy on the words of the other corpora's validation parts.

    Of the utterances with one label that MELD has; the prediction is one of the emotions that the
    corpus has.
    """
    result: dict[str, Any] = {}
    for name in TABLES:
        words = corpus.words[f"{name} valid"]
        classes = np.unique(words.labels[words.labels >= 0])
        scores = []
        for transcript, rows in zip(words.transcripts, words.vectors, strict=True):
            dialogue = _text_dialogue(transcript, rows)
            scores.append(model.probabilities(dialogue))
        guesses = classes[np.concatenate(scores)[:, classes].argmax(1)]
        hit = (guesses == words.labels)[words.labels >= 0]
        result[name] = _accuracy(hit) | {"utterances": len(hit)}
    return result


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
    dialogues = [_single(model, "visual", row) for row in faces.vectors]
    predicted = np.array([model.probabilities(d, "uniform").argmax() for d in dialogues])
    correct = predicted == faces.labels
    classes = np.unique(faces.labels)
    return {
        **_accuracy(correct),
        "images": len(correct),
        "recall": {EMOTIONS[k]: float(correct[faces.labels == k].mean()) for k in classes},
    }


def voices_alone(model: Predictor, corpus: PairedCorpus) -> dict[str, Any]:
    """Return the unweighted average recall (UAR) per corpus of voices, for held-out speakers.

    Of the model, with its interval, and of a logistic regression; see `label_voices`.
    """
    assert corpus.voices is not None
    voices = corpus.voices.only(corpus.held_out)
    result: dict[str, Any] = {}
    for name in dict.fromkeys(voices.corpora):
        part = voices.select(voices.corpora == name)
        entry: dict[str, Any] = {"clips": len(part.labels), "emotions": len(set(part.labels))}
        result[str(name)] = entry
        for version, (predicted, regression) in label_voices(model, corpus, part).items():
            entry[version] = {
                "uar": recall(part.labels, predicted),
                "interval": _bounds(_clip_bootstrap(part.labels, predicted)),
                "logistic_regression": recall(part.labels, regression),
            }
    return result


def label_voices(
    model: Predictor, corpus: PairedCorpus, part: VoicePool
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Label clips of held-out speakers: by the model, and by logistic regression.

    Every clip is a dialogue of one utterance; uniform prior. The regression reads what the model
    reads, and is fitted to the single clips of all training speakers. Both choose among the
    emotions that `part` has.

    Returns:
        version -> labels (n,) of the model, and of the regression.
    """
    assert corpus.voices is not None
    classes = np.unique(part.labels)
    train = corpus.voices.without(corpus.held_out)
    train = train.select(np.isin(train.labels, classes))
    versions = range(len(VERSIONS))
    regression = probe(
        np.concatenate([normalised_voices(model, train.vectors[:, k]) for k in versions]),
        np.tile(train.labels, len(VERSIONS)),
        {
            version: normalised_voices(model, part.vectors[:, k])
            for k, version in enumerate(VERSIONS)
        },
    )
    result = {}
    for k, version in enumerate(VERSIONS):
        dialogues = [_single(model, "audio", row) for row in part.vectors[:, k]]
        scores = np.stack([model.probabilities(d, "uniform")[0] for d in dialogues])
        result[version] = classes[scores[:, classes].argmax(1)], regression[version]
    return result


def recall(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return the unweighted average recall of labels (n,)."""
    return float(recall_score(truth, predicted, average="macro"))


def corpus_shows(model: Predictor, corpus: PairedCorpus) -> dict[str, float]:
    """Return how well logistic regression names the corpus of a voice from what the model reads.

    version -> recall of the corpora of held-out speakers, averaged. The probe learns from as many
    clips of each corpus, all of training speakers; single utterances.
    """
    assert corpus.voices is not None
    rng = np.random.default_rng(5)
    train, test = corpus.voices.without(corpus.held_out), corpus.voices.only(corpus.held_out)
    names, numbers = np.unique(train.corpora, return_inverse=True)
    least = np.bincount(numbers).min()
    chosen = np.concatenate(
        [rng.permutation(np.flatnonzero(numbers == k))[:least] for k in range(len(names))]
    )
    train = train.select(np.isin(np.arange(len(numbers)), chosen))
    rows = [normalised_voices(model, train.vectors[:, k]) for k in range(len(VERSIONS))]
    guesses = probe(
        np.concatenate(rows),
        np.tile(train.corpora, len(VERSIONS)),
        {name: normalised_voices(model, test.vectors[:, k]) for k, name in enumerate(VERSIONS)},
    )
    return {
        name: float(np.mean([(guess == c)[test.corpora == c].mean() for c in set(test.corpora)]))
        for name, guess in guesses.items()
    }


def neutral_words(model: Predictor, corpus: PairedCorpus) -> dict[str, Any]:
    """Score utterances of neutral words, whose voice and face show the emotion, one per dialogue.

    Voices of held-out actors, faces of FER+ valid that follow the crowd's votes. Returns the shares
    labelled right among the emotions and among the neutral ones, the confusion (rows: the truth),
    the calibration error, and how many are right where the confidence is .9 or more.
    """
    rng = np.random.default_rng(4)
    rates = replace(corpus.rates, muted=0.0, missing=(0.0,) * 3, missing_dialogue=(0.0,) * 3)
    drawn = replace(corpus, rates=rates).neutral_sessions("valid", 300, rng)
    dialogues = [d.part(k, k + 1) for d in drawn for k in range(len(d.labels))]
    labels = np.array([d.labels[0] for d in dialogues])
    probabilities = np.concatenate([model.probabilities(d, "auto") for d in dialogues])
    guesses, confidence = probabilities.argmax(1), probabilities.max(1)
    hit, sure = guesses == labels, confidence >= 0.9
    counts = np.zeros((len(EMOTIONS),) * 2)
    np.add.at(counts, (labels, guesses), 1)
    return {
        "emotions": _accuracy(hit[labels > 0]),
        "neutral": _accuracy(hit[labels == 0]),
        "utterances": len(labels),
        "confusion": (counts / counts.sum(1, keepdims=True)).round(3).tolist(),
        "calibration_error": calibration_error(confidence, hit),
        "confident": {"utterances": int(sure.sum()), "accuracy": float(hit[sure].mean())},
    }


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


def _clip_bootstrap(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return the UAR of DRAWS resamples of clips."""
    n = len(truth)
    weights = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), DRAWS)
    recalls = []
    for label in np.unique(truth):
        of_label = weights * (truth == label)
        recalls.append((of_label @ (predicted == label)) / np.maximum(of_label.sum(1), 1))
    return np.mean(recalls, 0)


def _single(model: Predictor, modality: str, row: np.ndarray) -> Dialogue:
    """Make a dialogue of one utterance that has this feature and nothing else."""
    features = {m: np.full((1, width), np.nan, np.float32) for m, width in model.widths.items()}
    features[modality] = row[None]
    return Dialogue("0", "test", ["0"], ["one"], [""], np.array([-1]), features)


def normalised_voices(model: Predictor, rows: np.ndarray) -> np.ndarray:
    """Return voice vectors (n, width) as the model reads them, each as a dialogue of its own."""
    normaliser = model.checkpoint.normaliser
    dialogues = (_single(model, "audio", row) for row in rows)
    return np.concatenate(
        [prepare(d, model.widths, normaliser).features["audio"] for d in dialogues]
    )


def _text_dialogue(transcript: Transcript, rows: np.ndarray) -> Dialogue:
    """Make a dialogue of words alone from text vectors (n, width)."""
    utterances = [str(utterance) for utterance in transcript.utterances]
    return Dialogue(
        str(transcript.id),
        "valid",
        utterances,
        transcript.speakers,
        transcript.texts,
        transcript.labels,
        {"text": rows},
    )


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
    return calibration_error(np.concatenate(confidences), np.concatenate(hits))


def _accuracy(hit: np.ndarray) -> dict[str, Any]:
    """Return the share of hit (n,) bool with its bootstrap interval."""
    draws = np.random.default_rng(0).integers(0, len(hit), (DRAWS, len(hit)))
    return {"accuracy": float(hit.mean()), "interval": _bounds(hit[draws].mean(1))}


def _bounds(values: np.ndarray) -> list[float]:
    return [float(value) for value in np.percentile(values, [2.5, 97.5])]
