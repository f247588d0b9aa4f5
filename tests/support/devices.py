"""The devices that torch can use here, and a run that labels real clips on any of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from css_model import CSS, Checkpoint, CSSConfig, Normaliser, save_checkpoint
from pipeline.core.dialogue import Dialogue
from pipeline.features.compute import compute_features
from pipeline.media.decode import open_media
from pipeline.segmentation.segment import segment

__all__ = ["DEVICES", "extractors_on", "features_on", "make_run"]

DEVICES = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)


def extractors_on(device: str, encoder: Path) -> dict[str, Any]:
    """Load the extractors, with the text encoder in a folder."""
    from extractors import AudioExtractor, TextExtractor, VisualExtractor

    return {
        "text": TextExtractor(encoder, device=device),
        "audio": AudioExtractor(),
        "visual": VisualExtractor(device=device),
    }


def features_on(device: str, clip: Path, encoder: Path) -> Dialogue:
    """Return a clip, which has a transcript, as a dialogue with features."""
    with open_media(clip) as media:
        segmentation = segment(media)
        features = compute_features(media, segmentation, extractors_on(device, encoder))
    return Dialogue.from_segmentation(clip.stem, segmentation, features.vectors)


def make_run(path: Path, dialogue: Dialogue, encoder: Path) -> Path:
    """Write a model with random weights that reads the features of `extractors_on`."""
    widths = tuple((name, rows.shape[1]) for name, rows in dialogue.features.items())
    labels = ("anger", "joy", "neutral")
    torch.manual_seed(0)
    model = CSS(CSSConfig(widths, labels, d=32, heads=4, hidden=32, rank=8))
    fingerprints = {m: e.fingerprint for m, e in extractors_on("cpu", encoder).items()}
    prior = np.log(np.full(len(labels), 1 / len(labels)))
    normaliser = Normaliser().fit([dialogue])
    checkpoint = Checkpoint(model.config, model.state_dict(), normaliser, fingerprints, prior)
    save_checkpoint(path, checkpoint)
    return path
