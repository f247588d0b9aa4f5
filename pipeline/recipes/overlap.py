"""Make the weights that say whether two people speak at once (`extractors/overlap.py`).

    python -m pipeline.recipes.overlap SPEECH_FOLDER

Utterances of acted voices in simulated rooms: in half of them a second speaker talks during the
first one's words; in some, after them. Logistic regression on the states of Whisper's encoder
learns which is which. Every fifth speaker is left out, and the figures are theirs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from extractors.overlap import WEIGHTS
from extractors.speech import LAYERS, SpeechExtractor
from pipeline.media.decode import RATE
from pipeline.recipes.acted_voices import read_clips, sounds_of
from pipeline.recipes.rooms import CONDITIONS, Place, coloured_noise
from pipeline.recipes.speech_spans import SpokenClip, spoken_clips

__all__ = ["draw_utterance", "make_weights"]

UTTERANCES, HELD_OUT = 2000, 500
CLIPS = 60  # of each speaker
SHORTEST = 0.2  # s of speech of both at once that count
PENALTY = 1e-2  # C of the logistic regression


def draw_utterance(
    one: Sequence[SpokenClip], other: Sequence[SpokenClip], rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """Return an utterance of a speaker, (n,) at 16 kHz, and for how long another one talks, too.

    one, other: clips of the two speakers.
    """
    condition = CONDITIONS[rng.integers(len(CONDITIONS))]
    places = Place.draw(condition, rng), Place.draw(condition, rng)
    parts: list[tuple[float, np.ndarray]] = []
    spans: tuple[list[tuple[float, float]], ...] = ([], [])

    def add(who: int, start: float, longest: float | None = None) -> float:
        clips = (one, other)[who]
        sound, spoken = clips[int(rng.integers(len(clips)))]
        count = len(sound) if longest is None else min(len(sound), round(longest * RATE))
        first = int(rng.integers(0, len(sound) - count + 1))
        parts.append((start, places[who].hear(sound[first : first + count], rng)))
        begin, end = start - first / RATE, start + count / RATE
        spans[who].extend((max(a + begin, start), min(b + begin, end)) for a, b in spoken)
        return end

    end = 0.0
    for _ in range(rng.integers(1, 3)):
        end = add(0, end) + rng.uniform(0, 0.5)
    kind = rng.random()
    if kind < 0.5:
        start = max(0.0, rng.uniform(-0.3, max(0.1, end - 0.4)))
        end = max(end, add(1, start, rng.uniform(0.25, 2)))
    elif kind < 0.65:
        end = add(1, end + rng.uniform(0, 0.4))
    mixture = 10 ** (condition.noise / 20) * coloured_noise(round((end + 0.1) * RATE), rng)
    for start, sound in parts:
        first = round(start * RATE)
        sound = sound[: len(mixture) - first]
        mixture[first : first + len(sound)] += sound
    both = np.logical_and(*(_active(s, len(mixture)) for s in spans))
    return np.clip(mixture, -1, 1).astype(np.float32), float(both.sum() / RATE)


def make_weights(folder: Path, target: Path = WEIGHTS) -> dict[str, float]:
    """Fit the weights to the clips in `folder`, write them to `target`, and return figures.

    folder: as for `acted_voices.load_voices`.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    speakers = defaultdict(list)
    for row in read_clips(folder):
        speakers[row["speaker"]].append(row)
    names = sorted(speakers)

    @cache
    def clips(name: str) -> list[SpokenClip]:
        rows = speakers[name]
        chosen = sorted(np.random.default_rng(0).permutation(len(rows))[:CLIPS])
        return spoken_clips(sounds_of(folder, [rows[k] for k in chosen]))

    def draw(pool: list[str], count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        extractor, vectors, seconds = SpeechExtractor(LAYERS), [], []
        for _ in range(count):
            corpus = rng.choice(sorted({name.split("-")[0] for name in pool}))
            of_corpus = [name for name in pool if name.startswith(f"{corpus}-")]
            one, other = rng.choice(of_corpus, 2, replace=len(of_corpus) < 2)
            sound, both = draw_utterance(clips(one), clips(other), rng)
            vectors.append(extractor.extract(sound, RATE))
            seconds.append(both)
        return np.stack(vectors), np.array(seconds)

    vectors, seconds = draw([n for k, n in enumerate(names) if k % 5 != 4], UTTERANCES, 0)
    mean, deviation = vectors.mean(0), vectors.std(0)
    model = LogisticRegression(C=PENALTY, max_iter=500)
    model.fit((vectors - mean) / deviation, seconds >= SHORTEST)
    weight = model.coef_[0] / deviation
    bias = model.intercept_ - weight @ mean  # (1,)
    save_file({"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)}, str(target))
    vectors, seconds = draw([n for k, n in enumerate(names) if k % 5 == 4], HELD_OUT, 1)
    logits, truth = vectors @ weight + bias, seconds >= SHORTEST
    figures = {"area": round(float(roc_auc_score(truth, logits)), 3)}
    for probability in (0.5, 0.7, 0.9):
        found = 1 / (1 + np.exp(-logits)) >= probability
        shares = (truth[found].mean(), found[truth].mean(), found[seconds == 0].mean())
        for name, share in zip(("precision", "recall", "false alarms"), shares, strict=True):
            figures[f"{name} at {probability}"] = round(float(share), 2)
    return figures


def _active(spans: list[tuple[float, float]], count: int) -> np.ndarray:
    active = np.zeros(count, bool)
    for start, end in spans:
        active[round(start * RATE) : max(0, round(end * RATE))] = True
    return active


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m pipeline.recipes.overlap")
    parser.add_argument("folder", type=Path, help="labels.csv, cremad/ and ravdess/")
    sys.stdout.write(json.dumps(make_weights(parser.parse_args().folder), indent=1) + "\n")
