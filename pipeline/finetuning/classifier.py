"""The network that is fine-tuned: an encoder with a classification head, all weights or LoRA."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from transformers.utils import logging as transformers_logging

from extractors.text import TextExtractor
from extractors.token_batches import pool
from pipeline.core.errors import MercError
from pipeline.finetuning.config import FinetuneConfig, LoraConfig

__all__ = ["TextClassifier", "make_head", "quiet"]


class TextClassifier(nn.Module):
    """An extractor's encoder and pooling under a classification head.

    With method "lora" only the low-rank matrices and the head are trained.
    """

    def __init__(
        self, extractor: TextExtractor, classes: int, method: str, config: FinetuneConfig
    ) -> None:
        super().__init__()
        with quiet():
            self.encoder = extractor.encoder(config.model.dropout)
            self.pooling = extractor.pooling
            if method == "lora":
                self.encoder = _add_lora(self.encoder, config.lora)
        if method == "full":
            for name, weight in self.encoder.named_parameters():
                # features do not pass through the pooler, so it would get no gradient
                weight.requires_grad_(not name.startswith("pooler."))
        self.head = make_head(config.model.head, extractor.dim, classes, config.model.dropout)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return float32 logits (n, classes) of token ids (n, tokens)."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return self.head(pool(states, attention_mask, self.pooling)).float()

    def trained_weights(self) -> dict[str, Tensor]:
        """Return the weights that training changes, on the CPU."""
        return {
            name: weight.detach().cpu().contiguous()
            for name, weight in self.named_parameters()
            if weight.requires_grad
        }


def make_head(kind: str, width: int, classes: int, dropout: float = 0.0) -> nn.Sequential:
    """Build a classification head.

    kind: "dense" for RoBERTa's own (dropout, dense, tanh, dropout, output), "linear" for dropout
    and output.

    >>> len(make_head("linear", 384, 7))
    2
    """
    if kind == "linear":
        return nn.Sequential(nn.Dropout(dropout), nn.Linear(width, classes))
    return nn.Sequential(
        nn.Dropout(dropout),
        nn.Linear(width, width),
        nn.Tanh(),
        nn.Dropout(dropout),
        nn.Linear(width, classes),
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the log messages and warnings of transformers and peft."""
    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


def _add_lora(encoder: Any, config: LoraConfig) -> Any:
    """Add low-rank matrices to the linear layers whose names end in one of `config.layers`."""
    try:
        import peft
    except ImportError as error:
        raise MercError(
            "--method lora: peft is not installed", "pip install 'merc[finetune]'"
        ) from error
    linear = [
        name
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Linear) and not name.startswith("pooler.")
    ]
    endings = {name: name.rpartition(".")[2] for name in linear}
    layers = [name for name in linear if "all" in config.layers or endings[name] in config.layers]
    if not layers:
        raise MercError(
            f"lora.layers = {config.layers}: the encoder has no such linear layer",
            f"this encoder has {', '.join(sorted(set(endings.values())))}; or use all",
        )
    settings = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type]
        lora_dropout=config.dropout,
        target_modules=layers,
    )
    return peft.get_peft_model(encoder, settings)
