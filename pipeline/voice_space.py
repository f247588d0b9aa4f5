"""The directions in which voices differ and emotions of one voice do not: a (40, 7) matrix that ships.

A turn is 40 numbers (mean and deviation of 20 cepstra).  Linear discriminant analysis (Fisher 1936) on acted speech of
known speakers: the scatter within a speaker, over all emotions, is whitened, then the directions between the speakers'
means are kept.  Made from EmoDB and TESS: python -m pipeline.voice_space SPEECH_FOLDER
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

__all__ = ["directions", "fit", "statistics"]

WEIGHTS = Path(__file__).parents[1] / "extractors" / "weights" / "voice.safetensors"
_DIAGONAL = 0.3  # weight of the diagonal in the scatter within speakers: ten speakers say little on correlations
_DIRECTIONS = 7


def statistics(frames: np.ndarray) -> np.ndarray:
    """(n, 20) cepstra of a turn → (40,) mean and deviation."""
    return np.concatenate([frames.mean(0), frames.std(0)]).astype(np.float64)


@cache
def directions() -> np.ndarray:
    """(40, 7), read from the weights that ship; distances between products with it compare voices."""
    return load_file(WEIGHTS)["directions"].astype(np.float64)


def fit(rows: np.ndarray, speakers: np.ndarray) -> np.ndarray:
    """(40, 7) from the statistics (n, 40) of turns and who spoke them; needs eight speakers or more."""
    names = np.unique(speakers)
    if len(names) <= _DIRECTIONS:
        raise ValueError(f"{len(names)} speakers are too few for {_DIRECTIONS} directions; want {_DIRECTIONS + 1}")
    within = np.mean([np.cov(rows[speakers == name].T) for name in names], axis=0)
    within = (1 - _DIAGONAL) * within + _DIAGONAL * np.diag(np.diag(within))
    values, vectors = np.linalg.eigh(within)
    whitening = vectors / np.sqrt(values)
    means = np.array([(rows[speakers == name] @ whitening).mean(0) for name in names])
    return whitening @ np.linalg.svd(means - means.mean(0), full_matrices=False)[2][:_DIRECTIONS].T


def main(folder: Path) -> None:
    """Fit on FOLDER/emodb (speaker = first two letters) and FOLDER/tess (first three); every third clip."""
    from pipeline.media import open_media
    from pipeline.speakers import voice_frames

    rows, speakers = [], []
    for corpus, letters in (("emodb", 2), ("tess", 3)):
        for clip in sorted((folder / corpus).glob("*.flac"))[::3]:
            with open_media(clip) as medium:
                rows.append(statistics(voice_frames(medium, 0, medium.duration)))
            speakers.append(clip.name[:letters])
    save_file({"directions": fit(np.array(rows), np.array(speakers)).astype(np.float32)}, WEIGHTS)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
