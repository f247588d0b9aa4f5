"""The two profiles: which extractors make the features, and from which weights.

roberta   RoBERTa-Large as in the paper, fetched from its hub or read from the hub's cache
offline   only weights that come with packages or ship with merc
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.counts import counted
from pipeline.core.dialogue import MODALITIES
from pipeline.core.errors import MercError, UsageError
from pipeline.core.fingerprints import option_of
from pipeline.core.resources import limit_kernel_cache

__all__ = [
    "PROFILES",
    "ExtractorOptions",
    "build_extractors",
    "check_device",
    "check_profile",
    "options_of",
]

TEXT_MODEL = {"roberta": "roberta-large", "offline": "minilm-emotion"}
AUDIO_MODEL = {"roberta": "is10", "offline": "whisper"}
AUDIO_EXTRACTORS = {"opensmile-is10": "is10", "whisper-encoder": "whisper"}
PROFILES = tuple(TEXT_MODEL)


@dataclass(frozen=True)
class ExtractorOptions:
    """The options of the extractors; None means the profile's default."""

    text_model: str | None = None
    text_layers: str = "last"
    text_cleaning: str | None = None
    audio_model: str | None = None
    audio_variant: str = "compat"
    face_weights: str | None = None
    face_detector: str = "auto"
    face_choice: str = "auto"
    device: str = "cpu"


def build_extractors(
    profile: str,
    options: ExtractorOptions | None = None,
    modalities: tuple[str, ...] = MODALITIES,
) -> dict[str, Any]:
    """Load the extractors of a profile, by modality.

    Raises UsageError for an unknown profile, MercError for a bad option or missing weights.

    >>> extractors = build_extractors("offline")
    >>> {modality: extractor.dim for modality, extractor in extractors.items()}
    {'text': 384, 'audio': 768, 'visual': 342}
    """
    limit_kernel_cache()
    check_profile(profile)
    options = options or ExtractorOptions()
    check_device(options.device)
    build: dict[str, Callable[[], Any]] = {
        "text": lambda: _text(profile, options),
        "audio": lambda: _audio(profile, options),
        "visual": lambda: _visual(options),
    }
    return {modality: build[modality]() for modality in modalities}


def check_profile(name: str) -> None:
    """Raise UsageError unless there is such a profile."""
    if name not in PROFILES:
        raise UsageError(f"unknown profile {name!r}", f"choose {' or '.join(PROFILES)}")


def check_device(name: str) -> None:
    """Raise MercError if torch cannot use this device."""
    if name == "cpu":
        return
    import torch

    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise MercError(f"--device {name}: {_no_device(name)}", "use cpu") from error


def _no_device(name: str) -> str:
    """Say why there is no such device; torch's own text has lines of hints and its devices."""
    import torch

    if not re.fullmatch("cuda(:[0-9]+)?", name):
        return "no such device; merc knows cpu, cuda and cuda:N"
    count = torch.cuda.device_count()
    if not count or not torch.cuda.is_available():
        return "torch finds no NVIDIA GPU with a working driver here"
    return f"torch cannot use it; it finds {counted(count, 'GPU')}, the first of which is cuda:0"


def options_of(
    fingerprints: dict[str, dict[str, Any]] | None, device: str = "cpu"
) -> ExtractorOptions:
    """Return the options that make features with these fingerprints.

    A fingerprint names no files, so weights in a user's folder are not among the options.

    >>> options_of({"audio": {"options": {"variant": "plain"}}}).audio_variant
    'plain'
    """
    default = ExtractorOptions()
    audio = (fingerprints or {}).get("audio", {}).get("extractor")
    return ExtractorOptions(
        text_model=option_of(fingerprints, "text", "name"),
        text_layers=option_of(fingerprints, "text", "layers") or default.text_layers,
        text_cleaning=option_of(fingerprints, "text", "cleaning"),
        audio_model=AUDIO_EXTRACTORS.get(str(audio)),
        audio_variant=option_of(fingerprints, "audio", "variant") or default.audio_variant,
        face_choice=option_of(fingerprints, "visual", "choose") or default.face_choice,
        device=device,
    )


def _text(profile: str, options: ExtractorOptions) -> Any:
    from extractors.text import TextExtractor

    return TextExtractor(
        options.text_model or TEXT_MODEL[profile],
        layers=options.text_layers,
        cleaning=options.text_cleaning,
        device=options.device,
    )


def _audio(profile: str, options: ExtractorOptions) -> Any:
    model = options.audio_model or AUDIO_MODEL[profile]
    if model == "is10":
        from extractors.audio import AudioExtractor

        return AudioExtractor(options.audio_variant)
    if model == "whisper":
        from extractors.speech import SpeechExtractor

        if options.audio_variant != ExtractorOptions().audio_variant:
            raise UsageError(
                f"--audio-variant {options.audio_variant}: a variant of IS10, and the audio model "
                "is whisper",
                "add --audio-model is10, or leave --audio-variant out",
            )
        return SpeechExtractor()
    raise UsageError(f"unknown audio model {model!r}", "choose is10 or whisper")


def _visual(options: ExtractorOptions) -> Any:
    from extractors.visual import VisualExtractor

    return VisualExtractor(
        weights=Path(options.face_weights) if options.face_weights else None,
        detector=options.face_detector,
        choose=options.face_choice,
        device=options.device,
    )
