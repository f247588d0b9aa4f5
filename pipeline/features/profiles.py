"""The two profiles: which extractor and which recogniser make up each.

roberta   RoBERTa-Large as in the paper, fetched from its hub or found in the hub's cache
offline   only weights that come inside packages or ship with merc
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipeline.core.dialogue import MODALITIES
from pipeline.core.fingerprints import option_of

__all__ = [
    "PROFILES",
    "ExtractorOptions",
    "build_extractors",
    "check_device",
    "options_of",
]


@dataclass(frozen=True)
class ExtractorOptions:
    """What a user may choose; None leaves the profile's own choice."""

    text_model: str | None = None
    text_layers: str = "last"
    text_cleaning: str | None = None
    audio_variant: str = "compat"
    face_weights: str | None = None
    face_detector: str = "auto"
    face_choice: str = "auto"
    device: str = "cpu"


TEXT_MODEL = {"roberta": "roberta-large", "offline": "minilm-meld"}
PROFILES = tuple(TEXT_MODEL)


def build_extractors(
    profile: str, options: ExtractorOptions | None = None, modalities: tuple[str, ...] = MODALITIES
) -> dict[str, Any]:
    """Modality to extractor.

    Raises ValueError for an unknown profile, FileNotFoundError when weights are missing, with the remedies.
    """
    if profile not in PROFILES:
        raise ValueError(f"no profile {profile!r}; choose {' or '.join(PROFILES)}")
    options = options or ExtractorOptions()
    check_device(options.device)
    build: dict[str, Callable[[], Any]] = {
        "text": lambda: _text(profile, options),
        "audio": lambda: _audio(options),
        "visual": lambda: _visual(options),
    }
    return {modality: build[modality]() for modality in modalities}


def check_device(name: str) -> None:
    """Raise ValueError unless torch can use this device."""
    import torch

    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"--device {name}: torch cannot use it ({str(error).splitlines()[0][:120]}); use cpu"
        ) from error


def options_of(
    fingerprints: dict[str, dict[str, Any]] | None, device: str = "cpu"
) -> ExtractorOptions:
    """The options that make features like these; weights in a user's own folder are not named in a fingerprint."""
    default = ExtractorOptions()
    return ExtractorOptions(
        text_model=option_of(fingerprints, "text", "name"),
        text_layers=option_of(fingerprints, "text", "layers") or default.text_layers,
        text_cleaning=option_of(fingerprints, "text", "cleaning"),
        audio_variant=option_of(fingerprints, "audio", "variant") or default.audio_variant,
        face_choice=option_of(fingerprints, "visual", "choose") or default.face_choice,
        device=device,
    )


def _text(profile: str, options: ExtractorOptions) -> Any:
    from extractors.text import TextExtractor

    name = options.text_model or TEXT_MODEL[profile]
    return TextExtractor(
        name, layers=options.text_layers, cleaning=options.text_cleaning, device=options.device
    )


def _audio(options: ExtractorOptions) -> Any:
    from extractors.audio import AudioExtractor

    return AudioExtractor(options.audio_variant)


def _visual(options: ExtractorOptions) -> Any:
    from pathlib import Path

    from extractors.visual import VisualExtractor

    weights = Path(options.face_weights) if options.face_weights else None
    return VisualExtractor(
        weights=weights,
        detector=options.face_detector,
        choose=options.face_choice,
        device=options.device,
    )
