"""Measure what a few corrected dialogues of another corpus are worth (merc train --start).

    python benchmarks/adaptation.py SHARED CACHE [MODEL]

SHARED holds `data/text/dailydialog.csv` and `data/speech/cremad`. The dialogues have the words of
DailyDialog; each of their speakers has the voice of one actor of CREMA-D, who acts the emotion of
the utterance (a surprised one has no voice). Actors of held-out dialogues speak in no other one.
CACHE (an .npz file) keeps the features of MODEL, by default merc-offline.

Two sets of labels: DailyDialog's emotions, which are those of merc-offline, and a user's own:
negative, neutral and positive. Each seed draws other dialogues, a fifth of them for validation, and
is tested on the same held-out dialogues. Intervals are a bootstrap over dialogues crossed with
seeds; p compares with the model as shipped (approximate randomisation, two-sided).
"""

from __future__ import annotations

import csv
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.core.dialogue import Corpus, Dialogue
from pipeline.training.config import load_configuration
from pipeline.training.fit import fit
from pipeline.training.metrics import dialogue_confusions, interval, randomisation_test, scores
from pipeline.training.predictor import Predictor
from pipeline.training.protocols import split_corpus
from pipeline.training.start import load_start

DIALOGUES, HELD_OUT = 500, 150
SIZES, SEEDS = (5, 20, 80), 5
ACTORS, HELD_OUT_ACTORS = 24, 8
TAKES = 3  # clips of an actor and emotion
VOICES = {
    "neutral": "NEU",
    "joy": "HAP",
    "anger": "ANG",
    "disgust": "DIS",
    "fear": "FEA",
    "sadness": "SAD",
}
EMOTIONS = ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")
VALENCE = {
    "neutral": "neutral",
    "joy": "positive",
    **dict.fromkeys(("anger", "disgust", "fear", "sadness"), "negative"),
}
LABEL_SETS = {
    "emotions": (EMOTIONS, {name: name for name in EMOTIONS}),
    "own labels": (("negative", "neutral", "positive"), VALENCE),
}


@dataclass(frozen=True)
class Trial:
    """A training. start: a model, or "" for one from scratch."""

    labels: str
    size: int
    seed: int
    start: str


def read_words(shared: Path) -> dict[str, list[dict[str, str]]]:
    """Return the rows of a random choice of DailyDialog's dialogues, in random order."""
    rows: dict[str, list[dict[str, str]]] = {}
    with open(shared / "data/text/dailydialog.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            rows.setdefault(row["dialogue"], []).append(row)
    names = list(rows)
    np.random.default_rng(0).shuffle(names)
    return {name: rows[name] for name in names[:DIALOGUES]}


def make_features(shared: Path, cache: Path, model: str) -> None:
    """Write the features of all utterances and of the clips of all actors."""
    from pipeline.features.profiles import build_extractors, options_of
    from pipeline.media.decode import RATE, open_media

    predictor = Predictor.load(model)
    options = options_of(predictor.fingerprints)
    extractors = build_extractors(predictor.profile, options, ("text", "audio"))
    predictor.check({name: extractor.fingerprint for name, extractor in extractors.items()})
    words = [row["text"] for rows in read_words(shared).values() for row in rows]
    arrays = {"text": extractors["text"].extract(words)}
    with open(shared / "data/speech/cremad/labels.csv", encoding="utf-8", newline="") as file:
        clips = list(csv.DictReader(file))
    for actor in sorted({clip["actor"] for clip in clips})[:ACTORS]:
        of_actor = [clip for clip in clips if clip["actor"] == actor]
        with open_media(shared / "data/speech/cremad" / of_actor[0]["file"]) as media:
            for code in VOICES.values():
                takes = [clip for clip in of_actor if clip["acted"] == code][:TAKES]
                sounds = [media.sound(float(c["start"]), float(c["end"])) for c in takes]
                rows = [extractors["audio"].extract(sound, RATE) for sound in sounds]
                arrays[f"{actor} {code}"] = np.stack(rows)
    np.savez(cache, **arrays)


def make_dialogues(shared: Path, cache: Path) -> list[Dialogue]:
    """Return the dialogues; the first `HELD_OUT` are for the test. Labels index EMOTIONS."""
    with np.load(cache) as file:
        arrays = dict(file)
    actors = sorted({name.split()[0] for name in arrays if name != "text"})
    width = next(rows.shape[1] for name, rows in arrays.items() if name != "text")
    rng = np.random.default_rng(1)
    dialogues, first = [], 0
    for number, (name, rows) in enumerate(read_words(shared).items()):
        cast = actors[:HELD_OUT_ACTORS] if number < HELD_OUT else actors[HELD_OUT_ACTORS:]
        speakers = sorted({row["speaker"] for row in rows})
        voice_of = dict(zip(speakers, rng.permutation(cast)[: len(speakers)], strict=True))
        audio = np.full((len(rows), width), np.nan, np.float32)
        for k, row in enumerate(rows):
            takes = arrays.get(f"{voice_of[row['speaker']]} {VOICES.get(row['label'])}")
            if takes is not None:
                audio[k] = takes[rng.integers(len(takes))]
        dialogues.append(
            Dialogue(
                id=name,
                split="test" if number < HELD_OUT else "train",
                utterances=[row["utterance"] for row in rows],
                speakers=[row["speaker"] for row in rows],
                texts=[row["text"] for row in rows],
                labels=np.array([_index(row["label"], EMOTIONS) for row in rows]),
                features={"text": arrays["text"][first : first + len(rows)], "audio": audio},
            )
        )
        first += len(rows)
    return dialogues


def corpus_of(dialogues: list[Dialogue], trial: Trial) -> Corpus:
    """Return the dialogues that a seed has drawn, and the held-out ones, with their labels."""
    names, meaning = LABEL_SETS[trial.labels]
    index = np.array([_index(meaning.get(name, ""), names) for name in EMOTIONS] + [-1])
    pool = [d for d in dialogues if d.split == "train"]
    drawn = np.random.default_rng([trial.seed, trial.size]).permutation(len(pool))[: trial.size]
    valid = max(1, trial.size // 5)
    chosen = [_with(pool[k], split="valid" if n < valid else "train") for n, k in enumerate(drawn)]
    chosen += [d for d in dialogues if d.split == "test"]
    relabelled = [_with(d, labels=index[d.labels]) for d in chosen]
    widths = {name: rows.shape[1] for name, rows in dialogues[0].features.items()}
    return Corpus("adaptation", names, relabelled, widths)


def run(trial: Trial, dialogues: list[Dialogue]) -> np.ndarray:
    """Train and return the confusion matrix of each held-out dialogue."""
    torch.set_num_threads(1)
    corpus = corpus_of(dialogues, trial)
    start = load_start(trial.start, corpus) if trial.start else None
    config = start.configuration() if start else load_configuration("table")
    config.train.device = "cpu"
    with tempfile.TemporaryDirectory() as folder:
        few_below = config.train.few_below if start else 0
        parts = split_corpus(corpus, config.data, "clean", few_below)
        fit(parts, config, trial.seed, Path(folder), start=start)
        predictor = Predictor.load(Path(folder) / "model.safetensors")
    guesses = [predictor.probabilities(d).argmax(1) for d in corpus.split("test")]
    return _confusions(corpus, guesses)


def as_shipped(labels: str, dialogues: list[Dialogue], model: str) -> np.ndarray:
    """Return the confusion matrices of the model without adaptation.

    Of a user's own labels, each gets the probabilities of its emotions.
    """
    corpus = corpus_of(dialogues, Trial(labels, 1, 0, model))
    predictor, (names, meaning) = Predictor.load(model), LABEL_SETS[labels]
    to_label = np.zeros((len(predictor.labels), len(names)))
    for k, emotion in enumerate(predictor.labels):
        if emotion in meaning:
            to_label[k, names.index(meaning[emotion])] = 1
    return _confusions(
        corpus, [(predictor.probabilities(d) @ to_label).argmax(1) for d in corpus.split("test")]
    )


def _confusions(corpus: Corpus, guesses: list[np.ndarray]) -> np.ndarray:
    truth = [d.labels for d in corpus.split("test")]
    return dialogue_confusions(truth, guesses, len(corpus.labels))


def _macro_f1(counts: np.ndarray) -> float:
    """Return the seed-mean macro F1. counts: (seeds, dialogues, classes, classes)."""
    values = []
    for confusion in counts.sum(1).astype(int):
        truth, guess = (np.repeat(axis.ravel(), confusion.ravel()) for axis in _axes(confusion))
        values.append(scores(truth, guess, [str(k) for k in range(len(confusion))])["macro_f1"])
    return float(np.mean(values))


def _axes(confusion: np.ndarray) -> list[np.ndarray]:
    return list(np.indices(confusion.shape))


def _with(dialogue: Dialogue, **changes: Any) -> Dialogue:
    from dataclasses import replace

    return replace(dialogue, **changes)


def _index(name: str, names: tuple[str, ...]) -> int:
    return names.index(name) if name in names else -1


def _row(title: str, counts: np.ndarray, shipped: np.ndarray) -> str:
    from pipeline.training.metrics import weighted_f1

    of_seeds = weighted_f1(counts.sum(1))
    low, high = interval(counts)
    test = randomisation_test(counts, np.repeat(shipped[None], len(counts), 0), draws=2000)
    same = counts.shape[0] == 1
    against = "" if same else f"{test['difference']:+.3f} (p {test['p']:.3f})"
    spread = "" if same else f" ± {of_seeds.std(ddof=1):.3f}"
    return (
        f"| {title} | {of_seeds.mean():.3f}{spread} | {low:.3f} to {high:.3f} | "
        f"{_macro_f1(counts):.3f} | {against} |"
    )


def main(shared: Path, cache: Path, model: str = "merc-offline") -> None:
    """Print one table for each set of labels."""
    if not cache.exists():
        make_features(shared, cache, model)
    dialogues = make_dialogues(shared, cache)
    trials = [
        Trial(labels, size, seed, start)
        for labels in LABEL_SETS
        for start in (model, "")
        for size in SIZES
        for seed in range(SEEDS)
    ]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        counts = dict(zip(trials, pool.map(run, trials, [dialogues] * len(trials)), strict=True))
    for labels, (names, _) in LABEL_SETS.items():
        shipped = as_shipped(labels, dialogues, model)
        print(f"\n{labels}: {', '.join(names)}\n")
        print("| | weighted F1 | 95 % interval | macro F1 | against as shipped |")
        print("|---|---|---|---|---|")
        print(_row("as shipped", shipped[None], shipped))
        for start, title in (("", "from scratch"), (model, "adapted")):
            for size in SIZES:
                of_seeds = [counts[Trial(labels, size, seed, start)] for seed in range(SEEDS)]
                print(_row(f"{title}, {size} dialogues", np.stack(of_seeds), shipped))


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
