"""Make the weights of the voice encoder: Resemblyzer's network and a fitted whitening.

    python -m pipeline.recipes.voice_encoder SPEECH_FOLDER resemblyzer/pretrained.pt

The whitening is within-class covariance normalisation (Hatch et al. 2006). It scales down the
directions in which vectors of one speaker vary with emotion and words. The covariance is shrunk
towards a multiple of the identity.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from extractors.voice import WEIGHTS, VoiceEncoder
from pipeline.core.errors import MercError
from pipeline.media.decode import RATE, open_media

__all__ = ["make_weights", "whitening"]

SHRINKAGE = 0.7  # weight of the identity: ten speakers are few for 256 dimensions
CORPORA = (("emodb", 2), ("tess", 3))  # folder; length of the speaker's name in a clip's name


def whitening(rows: np.ndarray, speakers: np.ndarray, shrinkage: float = SHRINKAGE) -> np.ndarray:
    """Return the symmetric square root (d, d) of the inverse covariance within speakers.

    rows is (n, d), speakers (n,). Every speaker has the same weight. Raises MercError for fewer
    than two speakers.
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
    values, vectors = np.linalg.eigh(within)
    return (vectors / np.sqrt(values)) @ vectors.T


def make_weights(folder: Path, pretrained: Path, target: Path = WEIGHTS) -> None:
    """Write the weights of the voice encoder to `target`, in half precision.

    folder: acted speech, `emodb/*.flac` and `tess/*.flac`. Every third clip is used, whole and one
    second of it, since turns are short.
    pretrained: the file of this name in the package resemblyzer.
    """
    encoder = VoiceEncoder()
    state = torch.load(pretrained, weights_only=True, map_location="cpu")["model_state"]
    encoder.load_state_dict(
        {name: state[name] for name in state if name.startswith(("lstm", "linear"))}, strict=False
    )
    encoder.eval()
    rows, speakers = [], []
    for corpus, letters in CORPORA:
        for clip in sorted((folder / corpus).glob("*.flac"))[::3]:
            with open_media(clip) as media:
                sound = media.sound()
            rows += list(encoder.raw([sound, sound[len(sound) // 4 :][:RATE]]))
            speakers += 2 * [clip.name[:letters]]
    root = whitening(np.array(rows, np.float64), np.array(speakers))
    encoder.whitening = torch.from_numpy(root).float()
    weights = {name: value.half().contiguous() for name, value in encoder.state_dict().items()}
    save_file(weights, target)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m pipeline.recipes.voice_encoder")
    parser.add_argument("folder", type=Path, help="acted speech: emodb/*.flac and tess/*.flac")
    parser.add_argument("pretrained", type=Path, help="pretrained.pt of the package resemblyzer")
    arguments = parser.parse_args()
    make_weights(arguments.folder, arguments.pretrained)
