"""Text encoders of Hugging Face's transformers: safetensors only, no code of checkpoints.

Apart from the packaged encoder, which runs without transformers (see `extractors.minilm`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils import logging

from extractors.delta import read_updates
from extractors.token_batches import pad, pool
from pipeline.core.errors import MercError
from pipeline.core.schemas import read_json

__all__ = ["Pretrained", "add_updates", "load_model", "read_checkpoint"]

# Batches below this many tokens run on one thread. Up to 10 tokens, the number of threads was
# observed to change the result.
SMALL_BATCH = 512

OPTIONS: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


class Pretrained:
    """An encoder that transformers knows: the tokens of texts, and their states.

    updates: file of `extractors.delta`, or None. width: numbers per state. longest: tokens that the
    encoder can read. start: the token before a text. padding: the one after a shorter text.
    at_once: batches to embed at the same time; torch uses several threads for each. precision: see
    `TextExtractor`.

    Raises MercError as `read_checkpoint` does.
    """

    at_once = 1

    def __init__(
        self, folder: Path, updates: Path | None, device: str, precision: str = "float32"
    ) -> None:
        self.folder, self.updates, self.device, self.precision = folder, updates, device, precision
        self.config, self.tokenizer = read_checkpoint(folder)
        self.width = int(self.config.hidden_size)
        self.longest = _max_tokens(self.tokenizer, self.config)
        self.start: int | None = self.tokenizer.cls_token_id
        self.padding = int(self.tokenizer.pad_token_id or 0)

    @cached_property
    def _model(self) -> Any:
        return load_model(self.folder, self.config, self.updates).to(self.device)

    def tokens(self, text: str) -> tuple[list[int], bool]:
        """Return the tokens of a text, and whether it is longer than the encoder can read."""
        ids = self.tokenizer(text, verbose=False)["input_ids"]
        if len(ids) <= self.longest:
            return ids, False
        return self.tokenizer(text, truncation=True, max_length=self.longest)["input_ids"], True

    @torch.inference_mode()
    def embed(self, rows: list[list[int]], layers: str, pooling: str) -> np.ndarray:
        """Return the features of rows of tokens; see `TextExtractor`."""
        batch = {name: value.to(self.device) for name, value in pad(rows, self.padding).items()}
        mask = batch["attention_mask"]
        autocast = torch.autocast(
            torch.device(self.device).type, torch.bfloat16, enabled=self.precision == "bfloat16"
        )
        with _one_thread(mask.numel() < SMALL_BATCH), autocast:
            output = self._model(**batch, output_hidden_states=layers != "last")
        if layers == "last":
            states = output.last_hidden_state.float()
        else:
            last = [state.float() for state in output.hidden_states[-4:]]
            states = torch.cat(last[::-1], -1) if layers == "four" else torch.stack(last).mean(0)
        return pool(states, mask, pooling).cpu().numpy()


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


def load_model(folder: Path, config: Any, updates: Path | None = None) -> Any:
    """Load the model in evaluation mode.

    updates: file of `extractors.delta` to add to its weights.

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
    if updates:
        add_updates(model, updates)
    return model.eval()


def add_updates(model: Any, path: Path) -> None:
    """Add the updates of a file of `extractors.delta` to the weights of a model.

    Raises MercError if they do not fit.
    """
    weights = dict(model.named_parameters())
    with torch.no_grad():
        for name, update in read_updates(path, weights):
            weights[name].add_(torch.from_numpy(update))


@contextmanager
def _one_thread(enabled: bool) -> Iterator[None]:
    """Run the block with one torch thread, so that its results do not depend on the thread count.

    Several threads sum small products in another order, which changes the last bits.
    """
    before = torch.get_num_threads()
    if enabled:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _max_tokens(tokenizer: Any, config: Any) -> int:
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
