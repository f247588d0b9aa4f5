"""Text features: one vector per text from RoBERTa-Large, MiniLM or a fine-tuned encoder.

RoBERTa: hidden state of <s> (position 0) in the last layer, or its mean over the last four layers
(COSMIC, Ghosal et al. 2020, Findings of EMNLP). MiniLM: mean over tokens, 384 numbers; they are
never padded to 1024.
"""

from __future__ import annotations

import copy
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from extractors import encoders
from extractors.delta import apply_delta
from extractors.encoders import CLEANINGS, DELTAS, PACKAGED
from extractors.threads import one_thread
from pipeline.core.errors import MercError
from pipeline.core.fingerprints import sha256_of
from pipeline.core.weights import check_weights

__all__ = ["TextExtractor", "clean_text", "pool"]

LAYERS = ("last", "last4", "four")
PRECISIONS = ("float32", "bfloat16")
VERSION = "1"  # raise when the same weights give other features, because of a change of this file
# Batches below this many tokens run on one thread. Up to 10 tokens, the number of threads was
# observed to change the result.
SMALL_BATCH = 512
DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout")
_QUOTES = str.maketrans(
    dict.fromkeys("‘’‚‛\x91\x92", "'")
    | dict.fromkeys("“”„\x93\x94", '"')
    | dict.fromkeys("–—\x96\x97", "-")
    | dict.fromkeys("…\x85", "...")
    | {"\xa0": " "}
)


def clean_text(text: str, cleaning: str = "quotes") -> str:
    """Normalise the characters of a text.

    cleaning: "quotes" replaces typographic quotes, dashes and ellipses (also as Windows bytes,
    which MELD contains) by ASCII. "cosmic" removes all that is not ASCII, as for COSMIC's
    features. Both reduce white space to single spaces.

    >>> clean_text("I’m  fine…")
    "I'm fine..."
    >>> clean_text("I’m  fine…", "cosmic")
    'Im fine'
    """
    if cleaning == "cosmic":
        text = text.encode("ascii", "ignore").decode()
    else:
        text = text.translate(_QUOTES)
    return " ".join(text.split())


class TextExtractor:
    """Compute the hidden states of a Hugging Face encoder.

    name: one of
        "minilm": comes with a package, works offline;
        "minilm-emotion": the same, fine-tuned on the emotions of four corpora;
        "roberta-large", or "owner/name" of a model hub;
        a folder with a checkpoint: an encoder, or a classifier fine-tuned from one;
        a file of low-rank updates (`delta.safetensors` of `merc finetune text --method lora`).
    layers: "last"; "last4": the mean of the last four; "four": the last four side by side, the last
        one first (r1 to r4 of the published files).
    batch: texts per call of the encoder; does not change the features.
    cleaning: see `clean_text`; default: as for fine-tuning, else "quotes".
    precision: "float32" or "bfloat16", which is 4 times as fast on processors that support it
        (cosine 0.9999).

    Only safetensors are read, and no code of a checkpoint runs.

    Raises MercError if the encoder cannot be found or used.

    >>> extractor = TextExtractor("minilm")
    >>> extractor.extract(["What?!", "I am so glad!"]).shape
    (2, 384)
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
        name = str(name)
        delta = encoders.find_delta(name)
        base = delta[1]["base"] if delta else name
        folder, shown = encoders.find_folder(base)
        about = delta[1] if delta else encoders.read_about(folder)
        cleaning = cleaning or about.get("cleaning", "quotes")
        _check("layers", layers, LAYERS)
        _check("cleaning", cleaning, CLEANINGS)
        _check("precision", precision, PRECISIONS)
        if batch < 1:
            raise MercError(f"batch of {batch} texts", "choose 1 or more")
        self.layers, self.device, self.batch = layers, device, batch
        self.cleaning, self.precision = cleaning, precision
        self.pooling = about.get("pooling", "mean" if base == PACKAGED else "first")
        config, self._tokenizer = encoders.read_checkpoint(folder)
        self._folder, self._config, self._delta = folder, config, delta[0] if delta else None
        self.dim = int(config.hidden_size) * (4 if layers == "four" else 1)
        self.longest = encoders.max_tokens(self._tokenizer, config)
        if self.pooling == "first" and self._encode("a")[0] != self._tokenizer.cls_token_id:
            token = self._tokenizer.cls_token or "<s>"
            raise MercError(
                f"{folder}: its tokenizer adds no {token} token, whose state is the feature",
                "use an encoder such as RoBERTa, BERT or DeBERTa",
            )
        options: dict[str, Any] = {
            "name": shown,
            "layers": layers,
            "pooling": self.pooling,
            "cleaning": cleaning,
            "precision": precision,
            "longest": self.longest,
            "tokenizer": sha256_of(*encoders.tokenizer_files(folder)),
        }
        self.fingerprint: dict[str, Any] = {
            "extractor": "text-encoder",
            "version": VERSION,
            "weights": sha256_of(*sorted(folder.glob("model*.safetensors"))),
            "options": options,
        }
        if base == PACKAGED:
            weights = folder / "model.safetensors"
            check_weights(PACKAGED, weights, self.fingerprint["weights"])
        if delta:
            path, fields = delta
            _check_base(path, fields, self.fingerprint["weights"])
            options["name"] = name if name in DELTAS else "delta"
            options |= {"base": shown, "delta": sha256_of(path)}

    @cached_property
    def _model(self) -> Any:
        # loaded with the first text: the fingerprint needs no weights in memory
        return self.encoder().to(self.device)

    def encoder(self, dropout: float | None = None) -> Any:
        """Load the transformers model anew, in evaluation mode.

        dropout: of states and attention, for fine-tuning; default: that of the checkpoint.
        """
        config = self._config
        if dropout is not None:
            config = copy.deepcopy(config)
            for name in DROPOUTS:
                if hasattr(config, name):
                    setattr(config, name, dropout)
        model = encoders.load_model(self._folder, config)
        if self._delta:
            apply_delta(model, self._delta)
        return model

    def tokens(self, texts: list[str]) -> list[list[int]]:
        """Return the token ids of each text, cleaned and truncated. Raises as `extract` does."""
        return [self._encode(text, index) for index, text in enumerate(texts)]

    def pad(self, rows: list[list[int]]) -> Any:
        """Return rows of `tokens` as padded tensors input_ids and attention_mask."""
        return self._tokenizer.pad({"input_ids": rows}, return_tensors="pt")

    def save_tokenizer(self, folder: Path) -> None:
        """Write the files of the tokenizer into a folder."""
        self._tokenizer.save_pretrained(folder)

    @torch.inference_mode()
    def extract(self, texts: list[str]) -> np.ndarray:
        """Return the (n, dim) float32 features of n texts.

        A row depends on its own text alone (to 1e-5), not on its batch.

        Raises MercError for the first text that is empty after cleaning: leave such a text out.
        """
        if isinstance(texts, str):
            raise MercError("texts is one string", "pass a list of texts")
        rows = self.tokens(texts)
        # batches of similar length: padding all texts to the longest takes 4.5 times as long
        order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
        vectors = np.empty((len(rows), self.dim), dtype=np.float32)
        for start in range(0, len(order), self.batch):
            part = order[start : start + self.batch]
            with one_thread(len(part) * len(rows[part[-1]]) < SMALL_BATCH):
                vectors[part] = self._embed([rows[index] for index in part])
        return vectors

    def truncated(self, texts: list[str]) -> list[bool]:
        """Return which texts are longer than the encoder can read. Their ends are not used."""
        lengths = [
            len(self._tokenizer(clean_text(text, self.cleaning), verbose=False)["input_ids"])
            for text in texts
        ]
        return [length > self.longest for length in lengths]

    def _encode(self, text: str, index: int = 0) -> list[int]:
        cleaned = clean_text(text, self.cleaning)
        if not cleaned:
            raise MercError(
                f"text {index} is empty after cleaning ({text!r})",
                "leave it out: its feature is missing",
            )
        return self._tokenizer(cleaned, truncation=True, max_length=self.longest)["input_ids"]

    def _embed(self, rows: list[list[int]]) -> np.ndarray:
        padded = self.pad(rows).to(self.device)
        mask = padded["attention_mask"]
        device_type = torch.device(self.device).type
        with torch.autocast(device_type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            output = self._model(
                input_ids=padded["input_ids"],
                attention_mask=mask,
                output_hidden_states=self.layers != "last",
            )
        if self.layers == "last4":
            states = torch.stack([layer.float() for layer in output.hidden_states[-4:]]).mean(0)
        elif self.layers == "four":
            states = torch.cat([layer.float() for layer in output.hidden_states[:-5:-1]], -1)
        else:
            states = output.last_hidden_state.float()
        return pool(states, mask, self.pooling).cpu().numpy()


def pool(states: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """Reduce states (n, tokens, d) to (n, d).

    mask: (n, tokens), 0 for padding. pooling: "first" takes the first token, "mean" averages.
    """
    if pooling == "first":
        return states[:, 0]
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1)


def _check(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise MercError(f"text {option} {value!r} is unknown", f"choose one of {', '.join(known)}")


def _check_base(path: Path, fields: dict[str, Any], weights: str) -> None:
    """Check that an update belongs to the weights (a SHA-256) of the encoder in use."""
    if fields["weights"] != weights:
        raise MercError(
            f"{path}: updates other weights of {fields['base']} than those on this machine (sha256 "
            f"{fields['weights'][:12]}…, here {weights[:12]}…)",
            "fine-tune again",
        )
