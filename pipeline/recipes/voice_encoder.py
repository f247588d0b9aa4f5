"""The voice encoder's weights made again: Resemblyzer's network, and what acted speech adds to it.

    python -m pipeline.recipes.voice_encoder SPEECH_FOLDER resemblyzer/pretrained.pt

The second part is within-class covariance normalisation: how vectors of one speaker scatter over emotions and words,
pooled over speakers, is whitened (in part: the scatter is shrunk towards a sphere), so that it counts less.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from extractors.voice import WEIGHTS, VoiceEncoder

__all__ = ["whitening"]

SPHERE = 0.7  # weight of the sphere in the scatter within speakers: ten speakers say little on 256 dimensions
_CORPORA = (("emodb", 2), ("tess", 3))  # folder; letters of a clip's name that are its speaker


def whitening(rows: np.ndarray, speakers: np.ndarray, sphere: float = SPHERE) -> np.ndarray:
    """Symmetric square root (d, d) of the inverse scatter within speakers, of rows (n, d).

    Every speaker weighs the same.  Raises ValueError for fewer than two speakers.
    """
    names = np.unique(speakers)
    if len(names) < 2:
        raise ValueError(f"{len(names)} speaker: the scatter within speakers needs two or more")
    within = np.mean([np.cov(rows[speakers == name].T) for name in names], axis=0)
    within = (1 - sphere) * within + sphere * np.eye(len(within)) * np.trace(within) / len(within)
    values, vectors = np.linalg.eigh(within)
    return (vectors / np.sqrt(values)) @ vectors.T


def main(folder: Path, pretrained: Path) -> None:
    """Every third clip of each corpus, whole and its first second: turns are short."""
    from pipeline.media.decode import RATE, open_media

    encoder = VoiceEncoder()
    state = torch.load(pretrained, weights_only=True, map_location="cpu")["model_state"]
    encoder.load_state_dict(
        {name: state[name] for name in state if name.startswith(("lstm", "linear"))}, strict=False
    )
    encoder.eval()
    rows, speakers = [], []
    for corpus, letters in _CORPORA:
        for clip in sorted((folder / corpus).glob("*.flac"))[::3]:
            with open_media(clip) as medium:
                sound = medium.sound()
            rows += list(encoder.raw([sound, sound[len(sound) // 4 :][:RATE]]))
            speakers += 2 * [clip.name[:letters]]
    encoder.whitening = torch.from_numpy(
        whitening(np.array(rows, np.float64), np.array(speakers))
    ).float()
    save_file(
        {name: value.half().contiguous() for name, value in encoder.state_dict().items()}, WEIGHTS
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
