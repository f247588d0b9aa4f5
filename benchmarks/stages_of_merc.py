"""One stage of merc alone, for stages.py: STAGE CLIP FOLDER (where earlier stages left their results)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from measure import measured

import extractors.audio
import extractors.text
import extractors.visual  # noqa: F401  (what merc imports later, in the middle of a stage)
from pipeline.core.dialogue import Dialogue, Segmentation, Utterance
from pipeline.features.compute import compute_features
from pipeline.features.profiles import build_extractors
from pipeline.labelling import Labeller
from pipeline.media.decode import open_media
from pipeline.segmentation.recognition import Recogniser
from pipeline.segmentation.segment import segment
from pipeline.training.predictor import Predictor


def main(stage: str, clip: Path, place: Path) -> None:
    if stage == "whole":
        print(json.dumps(measured(lambda: Labeller().label(clip))))
        return
    with open_media(clip) as media:
        if stage == "sound":
            print(json.dumps(measured(lambda: media.duration)))
            return
        assert media.duration  # the sound is decoded
        if stage == "utterances":
            found: list[Segmentation] = []
            told = measured(
                lambda: found.append(segment(media, transcript=None, recogniser=Recogniser()))
            )
            save(place, found[0])
        elif stage == "emotions":
            said, features = load(place).utterances, dict(np.load(place / "features.npz"))
            dialogue = Dialogue(
                "clip",
                "test",
                [str(k) for k in range(len(said))],
                [u.speaker for u in said],
                [u.text for u in said],
                np.full(len(said), -1),
                features,
            )
            told = measured(lambda: Predictor.load("merc-offline").probabilities(dialogue))
        else:
            kept: list[np.ndarray] = []
            told = measured(
                lambda: kept.append(
                    compute_features(
                        media, load(place), build_extractors("offline", modalities=(stage,))
                    ).vectors[stage]
                )
            )
            file = place / "features.npz"
            np.savez(file, **{**(dict(np.load(file)) if file.exists() else {}), stage: kept[0]})
    print(json.dumps(told))


def save(place: Path, found: Segmentation) -> None:
    (place / "said.json").write_text(
        json.dumps([[u.start, u.end, u.text, u.speaker] for u in found.utterances])
    )


def load(place: Path) -> Segmentation:
    return Segmentation(
        [Utterance(*row) for row in json.loads((place / "said.json").read_text())], {}
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
