"""Text features: one vector per text from RoBERTa-Large, MiniLM or a fine-tuned encoder.

RoBERTa: hidden state of <s> (position 0) in the last layer, or its mean over the last four layers
(COSMIC, Ghosal et al. 2020, Findings of EMNLP). MiniLM: mean over tokens, 384 numbers; they are
never padded to 1024.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from extractors import encoders
from extractors.encoders import CLEANINGS, DELTAS, PACKAGED
from extractors.minilm import MiniLM
from extractors.threads import side_by_side
from pipeline.core.errors import MercError
from pipeline.core.fingerprints import sha256_of
from pipeline.core.weights import check_weights

if TYPE_CHECKING:
    from torch import Tensor

    from extractors.pretrained import Pretrained

__all__ = ["TextExtractor", "clean_text"]

LAYERS = ("last", "last4", "four")
PRECISIONS = ("float32", "bfloat16")
VERSION = "1"  # raise when the same weights give other features, because of a change of this file
BLOCK = 1 << 20  # texts x tokens x tokens in a batch: 12 heads' attention takes 50 MB
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
        self._source = _open(folder, base, delta[0] if delta else None, device, precision)
        self.dim = self._source.width * (4 if layers == "four" else 1)
        self.longest = self._source.longest
        if self.pooling == "first" and self._encode("a")[0] != self._source.start:
            raise MercError(
                f"{folder}: its tokenizer adds no token before a text, whose state is the feature",
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

    def encoder(self, dropout: float | None = None) -> Any:
        """Load the transformers model anew, in evaluation mode.

        dropout: of states and attention, for fine-tuning; default: that of the checkpoint.
        """
        from extractors.pretrained import load_model, read_checkpoint

        config, _ = read_checkpoint(self._source.folder)
        if dropout is not None:
            for name in DROPOUTS:
                if hasattr(config, name):
                    setattr(config, name, dropout)
        return load_model(self._source.folder, config, self._source.updates)

    def tokens(self, texts: list[str]) -> list[list[int]]:
        """Return the token ids of each text, cleaned and truncated. Raises as `extract` does."""
        return [self._encode(text, index) for index, text in enumerate(texts)]

    def pad(self, rows: list[list[int]]) -> dict[str, Tensor]:
        """Return rows of `tokens` as padded tensors input_ids and attention_mask."""
        from extractors.token_batches import pad

        return pad(rows, self._source.padding)

    def save_tokenizer(self, folder: Path) -> None:
        """Write the files of the tokenizer into a folder."""
        from extractors.pretrained import read_checkpoint

        read_checkpoint(self._source.folder)[1].save_pretrained(folder)

    def extract(self, texts: list[str]) -> np.ndarray:
        """Return the (n, dim) float32 features of n texts.

        A row depends on its own text alone (to 1e-5), not on its batch.

        Raises MercError for the first text that is empty after cleaning: leave such a text out.
        """
        if isinstance(texts, str):
            raise MercError("texts is one string", "pass a list of texts")
        rows = self.tokens(texts)

        def embed(part: list[int]) -> np.ndarray:
            return self._source.embed([rows[k] for k in part], self.layers, self.pooling)

        vectors = np.empty((len(rows), self.dim), dtype=np.float32)
        parts = _batches(list(map(len, rows)), self.batch)
        with side_by_side(min(self._source.at_once, len(parts))) as pool:
            for part, values in zip(parts, pool.map(embed, parts), strict=True):
                vectors[part] = values
        return vectors

    def truncated(self, texts: list[str]) -> list[bool]:
        """Return which texts are longer than the encoder can read. Their ends are not used."""
        return [self._source.tokens(clean_text(text, self.cleaning))[1] for text in texts]

    def _encode(self, text: str, index: int = 0) -> list[int]:
        cleaned = clean_text(text, self.cleaning)
        if not cleaned:
            raise MercError(
                f"text {index} is empty after cleaning ({text!r})",
                "leave it out: its feature is missing",
            )
        return self._source.tokens(cleaned)[0]


def _open(
    folder: Path, base: str, updates: Path | None, device: str, precision: str
) -> MiniLM | Pretrained:
    if base == PACKAGED and device == "cpu" and precision == "float32":
        return MiniLM(folder, updates)
    from extractors.pretrained import Pretrained  # takes six seconds

    return Pretrained(folder, updates, device, precision)


def _batches(lengths: list[int], size: int) -> list[list[int]]:
    """Return batches of the indices of texts, by numbers of tokens.

    Texts of similar length are together: padding all to the longest takes 4.5 times as long. No
    batch exceeds `BLOCK`, if it has more than one text.

    >>> _batches([3, 900, 4, 901], 32)
    [[0, 2], [1], [3]]
    """
    batches: list[list[int]] = []
    for k in sorted(range(len(lengths)), key=lengths.__getitem__):
        largest = (len(batches[-1]) + 1) * lengths[k] ** 2 if batches else 0
        if not batches or len(batches[-1]) == size or largest > BLOCK:
            batches.append([])
        batches[-1].append(k)
    return batches


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
