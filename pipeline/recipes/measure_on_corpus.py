"""How good merc-offline is on what its parts were made of: words, voices and faces, alone and together.

Every figure is made from voices, faces and dialogues that trained nothing, with a 95 % bootstrap interval:
over dialogues crossed with seeds, over clips, or over images.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import recall_score

from pipeline.core.dialogue import MODALITIES, Dialogue
from pipeline.core.workers import WorkerDied, map_items
from pipeline.corpora.meld_transcripts import EMOTIONS
from pipeline.recipes.acted_voices import VoicePool
from pipeline.recipes.paired import PairedCorpus, Rates, Words, pair
from pipeline.training.config import Configuration
from pipeline.training.fit import fit
from pipeline.training.linear_probe import probe
from pipeline.training.metrics import dialogue_confusions, interval, weighted_f1
from pipeline.training.predictor import Predictor
from pipeline.training.protocols import Parts

__all__ = ["calibration", "faces_alone", "only", "text_alone", "together", "voices_alone"]

MISMATCHES = (0.0, 0.3, 0.6, 0.85, 1.0)
DRAWS = 2000
SIX = tuple(
    k for k, name in enumerate(EMOTIONS) if name != "surprise"
)  # what EmoDB's actors played


def only(dialogue: Dialogue, *kept: str) -> Dialogue:
    """The dialogue with every other modality missing."""
    return replace(
        dialogue,
        features={
            m: rows if m in kept else np.full_like(rows, np.nan)
            for m, rows in dialogue.features.items()
        },
    )


def text_alone(seeds: list[Predictor], corpus: PairedCorpus) -> dict[str, Any]:
    """Weighted F1 of every seed on MELD dev by its words, beside a logistic regression of single utterances."""
    dialogues = [only(d, "text") for d in corpus.split("valid")]
    dialogues = [
        replace(d, features=d.features | {"text": rows})
        for d, rows in zip(dialogues, corpus.words["valid"].vectors, strict=True)
    ]
    simple = _regression(corpus.words["train"], corpus.words["valid"])
    return _scored(seeds, dialogues) | {"logistic_regression": simple}


def together(seeds: list[Predictor], corpus: PairedCorpus) -> dict[str, Any]:
    """Weighted F1 on MELD dev with a voice and a face for every utterance, by how often these are wrong."""
    return {
        f"{mismatch:g}": _scored(
            seeds, corpus.draw("valid", np.random.default_rng(1), Rates.whole(mismatch))
        )
        for mismatch in MISMATCHES
    }


def faces_alone(model: Predictor, corpus: PairedCorpus) -> dict[str, Any]:
    """Accuracy of seven on FER+ valid (no contempt): one image an utterance, uniform prior."""
    faces = corpus.faces["valid"]
    guess = np.array(
        [
            model.probabilities(_single(model, "visual", row), "uniform").argmax()
            for row in faces.vectors
        ]
    )
    right = guess == faces.labels
    draws = np.random.default_rng(0).integers(0, len(right), (DRAWS, len(right)))
    return {
        "images": len(right),
        "accuracy": float(right.mean()),
        "interval": _bounds(right[draws].mean(1)),
        "recall": {
            EMOTIONS[k]: float(right[faces.labels == k].mean()) for k in np.unique(faces.labels)
        },
    }


def voices_alone(
    corpus: PairedCorpus, config: Configuration, folder: Path, jobs: int = 1
) -> dict[str, Any]:
    """UAR of six for each EmoDB speaker by a voice branch that never heard that speaker, clean and distorted.

    The branch is the same CSS with the voice as its only modality, trained on all other voices, each with its own
    label (wrong clips are there to be weighed against words).  The speaker's clips of one condition make one dialogue;
    uniform prior, surprise not offered.
    """
    voices = corpus.voices
    assert voices is not None
    speakers = [
        str(name) for name in np.unique(voices.speakers) if name.isdigit()
    ]  # EmoDB's have numbers
    guesses: dict[str, np.ndarray] = {}
    for index, guess in map_items(_Fold(corpus, config, folder), speakers, jobs):
        if isinstance(guess, WorkerDied):
            raise RuntimeError(
                f"the training without speaker {speakers[index]} ended with exit code {guess.exitcode}"
            )
        guesses[speakers[index]] = guess
    truth = {name: voices.only((name,)).labels for name in speakers}
    conditions = {"clean": [0], "distorted": list(range(1, voices.vectors.shape[1]))}
    result: dict[str, Any] = {"speakers": {name: {"clips": len(truth[name])} for name in speakers}}
    for condition, copies in conditions.items():
        labels = np.concatenate([np.tile(truth[name], len(copies)) for name in speakers])
        guess = np.concatenate([guesses[name][:, copies].T.ravel() for name in speakers])
        clips = np.concatenate(
            [
                np.tile(np.arange(len(truth[name])), len(copies)) + 1000 * k
                for k, name in enumerate(speakers)
            ]
        )
        result[condition] = {
            "uar": float(recall_score(labels, guess, average="macro")),
            "interval": _bounds(_clip_bootstrap(labels, guess, clips)),
        }
        for name in speakers:
            own = np.tile(truth[name], len(copies))
            result["speakers"][name][condition] = float(
                recall_score(
                    own,
                    guesses[name][:, copies].T.ravel(),
                    labels=np.unique(own),
                    average="macro",
                    zero_division=0,
                )
            )
    return result


def calibration(model: Predictor, corpus: PairedCorpus) -> dict[str, Any]:
    """Expected calibration error (ten bins) of each modality set on MELD dev, with and without temperatures.

    Its dialogues fitted the temperatures too, with other draws of voices and faces.
    """
    cold = Predictor(replace(model.checkpoint, temperatures={}), model.name)
    result = {}
    for name in model.checkpoint.temperatures:
        dialogues = [
            only(d, *name.split("+")) for d in corpus.draw("valid", np.random.default_rng(2))
        ]
        rows = {"before": cold, "after": model}
        result[name] = {"temperature": model.checkpoint.temperatures[name]} | {
            key: _calibration_error(predictor, dialogues, name) for key, predictor in rows.items()
        }
    return result


class _Fold:
    """Work of one process: train without a speaker, guess all of that speaker's clips."""

    def __init__(self, corpus: PairedCorpus, config: Configuration, folder: Path) -> None:
        self.corpus = replace(
            corpus, dialogues=[], rates=Rates(voice=0.0, lost=(0.0,) * 3, absent=(0.0,) * 3)
        )
        self.config = replace(config, data=replace(config.data, modalities=["audio"]))
        self.folder = folder

    def __call__(self, speaker: str, tell: Any) -> np.ndarray:
        """(clips, copies) labels guessed."""
        corpus, voices = replace(self.corpus, held=(speaker,)), self.corpus.voices
        assert voices is not None
        # epochs are compared on voices of the training: the speaker must have no say in it
        valid = pair(
            corpus.words["valid"],
            voices.without((speaker,)),
            corpus.faces["valid"],
            corpus.rates,
            np.random.default_rng(0),
            "valid",
        )
        fit(
            Parts(corpus, "clean", valid, []),
            self.config,
            self.config.train.seed,
            self.folder / f"without-{speaker}",
        )
        model = Predictor.load(self.folder / f"without-{speaker}" / "model.safetensors")
        return _guess_clips(model, voices.only((speaker,)))


def _guess_clips(model: Predictor, voices: VoicePool) -> np.ndarray:
    """(clips, copies): each condition one dialogue of the speaker's clips, in an order that says nothing of labels."""
    n, copies = voices.vectors.shape[:2]
    order = np.random.default_rng(0).permutation(n)
    guesses = np.empty((n, copies), np.int64)
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
        guesses[order, copy] = np.array(SIX)[
            model.probabilities(clips, "uniform")[:, SIX].argmax(1)
        ]
    return guesses


def _single(model: Predictor, modality: str, row: np.ndarray) -> Dialogue:
    features = {m: np.full((1, width), np.nan, np.float32) for m, width in model.widths.items()}
    return Dialogue(
        "0", "test", ["0"], ["one"], [""], np.array([-1]), features | {modality: row[None]}
    )


def _scored(seeds: list[Predictor], dialogues: list[Dialogue]) -> dict[str, Any]:
    truths = [d.labels for d in dialogues]
    counts = np.stack(
        [
            dialogue_confusions(
                truths, [seed.probabilities(d).argmax(1) for d in dialogues], len(EMOTIONS)
            )
            for seed in seeds
        ]
    )
    values = weighted_f1(counts.sum(1))
    return {
        "weighted_f1": float(values.mean()),
        "sd": float(values.std(ddof=1)) if len(values) > 1 else 0.0,
        "interval": interval(counts, DRAWS),
        "seeds": len(seeds),
        "utterances": int(sum(len(t) for t in truths)),
    }


def _regression(train: Words, valid: Words) -> float:
    """Weighted F1 of multinomial logistic regression on standardised text vectors."""
    truth = np.concatenate([t.labels for t in valid.transcripts])
    guess = probe(
        np.concatenate(train.vectors),
        np.concatenate([t.labels for t in train.transcripts]),
        {"valid": np.concatenate(valid.vectors)},
    )["valid"]
    return float(weighted_f1(dialogue_confusions([truth], [guess], len(EMOTIONS))[0]))


def _calibration_error(model: Predictor, dialogues: list[Dialogue], name: str) -> float:
    wanted = name.split("+")
    sure, right = [], []
    for d in dialogues:
        there = np.all([~np.isnan(d.features[m]).any(1) for m in wanted], 0)
        there &= np.all(
            [np.isnan(d.features[m]).any(1) for m in MODALITIES if m not in wanted], 0
        ) | (len(wanted) == 3)
        p = model.probabilities(d)[there]
        sure.append(p.max(1))
        right.append(p.argmax(1) == d.labels[there])
    confidence, hit = np.concatenate(sure), np.concatenate(right)
    bins = np.minimum((confidence * 10).astype(int), 9)
    return float(
        sum(
            abs(hit[bins == k].mean() - confidence[bins == k].mean()) * (bins == k).mean()
            for k in np.unique(bins)
        )
    )


def _clip_bootstrap(truth: np.ndarray, guess: np.ndarray, clips: np.ndarray) -> np.ndarray:
    """UAR of DRAWS resamples of clips; all copies of a clip go together."""
    names, index = np.unique(clips, return_inverse=True)
    weights = np.random.default_rng(0).multinomial(
        len(names), np.full(len(names), 1 / len(names)), DRAWS
    )[:, index]
    recalls = [
        ((weights * (truth == k)) @ (guess == k)) / np.maximum(weights @ (truth == k), 1)
        for k in np.unique(truth)
    ]
    return np.mean(recalls, 0)


def _bounds(values: np.ndarray) -> list[float]:
    return [float(v) for v in np.percentile(values, [2.5, 97.5])]
