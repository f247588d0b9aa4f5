"""One stage of merc alone, for stages.py.

    python benchmarks/stages_of_merc.py STAGE CLIP FOLDER

FOLDER holds the results of earlier stages.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from measure import measured

# merc imports these in the middle of a stage
import extractors.audio
import extractors.text
import extractors.visual  # noqa: F401
from pipeline.core.dialogue import Dialogue, Segmentation, Utterance
from pipeline.features.compute import compute_features
from pipeline.features.profiles import build_extractors
from pipeline.labelling import Labeller
from pipeline.media.decode import Media, open_media
from pipeline.segmentation.recognition import Recogniser
from pipeline.segmentation.segment import segment
from pipeline.training.predictor import Predictor


def main(stage: str, clip: Path, folder: Path) -> None:
    if stage == "whole":
        figures = measured(lambda: Labeller().label(clip))
    else:
        with open_media(clip) as media:
            figures = measure_stage(stage, media, folder)
    print(json.dumps(figures))


def measure_stage(stage: str, media: Media, folder: Path) -> dict[str, float]:
    if stage == "sound":
        return measured(lambda: media.duration)
    assert media.duration  # decodes the audio
    results: list[Any] = []
    if stage == "utterances":
        figures = measured(lambda: results.append(segment(media, recogniser=Recogniser())))
        save(folder, results[0])
        return figures
    features_file = folder / "features.npz"
    features = dict(np.load(features_file)) if features_file.exists() else {}
    segmentation = load(folder)
    if stage == "emotions":
        dialogue = Dialogue.from_segmentation("clip", segmentation, features)
        return measured(lambda: Predictor.load("merc-offline").probabilities(dialogue))

    def extract() -> None:
        extractors = build_extractors("offline", modalities=(stage,))
        results.append(compute_features(media, segmentation, extractors).vectors[stage])

    figures = measured(extract)
    np.savez(features_file, **{**features, stage: results[0]})
    return figures


def save(folder: Path, segmentation: Segmentation) -> None:
    rows = [[u.start, u.end, u.text, u.speaker] for u in segmentation.utterances]
    (folder / "utterances.json").write_text(json.dumps(rows))


def load(folder: Path) -> Segmentation:
    rows = json.loads((folder / "utterances.json").read_text())
    return Segmentation([Utterance(*row) for row in rows], {})


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
