"""The settings of `merc finetune text`: typed, with YAML defaults per corpus and per encoder.

The defaults follow COSMIC (Ghosal et al. 2020, Findings of EMNLP): RoBERTa-Large classifies single
utterances; Adam (0.9, 0.98), eps 1e-6, weight decay 0.1, 6 % warm-up, then linear decay, 30 epochs
of batches of 32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources

from omegaconf import OmegaConf

from pipeline.core.errors import MercError
from pipeline.training.config import build_configuration, check_values

__all__ = ["METHODS", "FinetuneConfig", "LoraConfig", "load_settings"]

METHODS = ("full", "lora")


@dataclass
class WordsConfig:
    """How text is cleaned before it is tokenised."""

    # quotes: typed quotes for curly ones; cosmic: drop what is not ASCII, as COSMIC did
    cleaning: str = "quotes"


@dataclass
class ClassifierConfig:
    """The classification head."""

    dropout: float = 0.1  # of hidden states, attention and head
    head: str = "dense"  # dense (RoBERTa's: dropout, dense, tanh, dropout, output) or linear


@dataclass
class LoraConfig:
    """Low-rank adaptation (Hu et al. 2022) instead of all weights: --method lora."""

    rank: int = 16
    alpha: float = 32.0  # the update is scaled by alpha / rank
    dropout: float = 0.1
    # endings of the names of linear layers; all: every linear layer
    layers: list[str] = field(default_factory=lambda: ["query", "value"])
    lr: float = 3e-4


@dataclass
class TuneConfig:
    """Optimisation."""

    epochs: int = 30
    lr: float = 1e-5  # of --method full
    batch: int = 32  # utterances per step
    accumulate: int = 1  # parts of a batch, processed one after the other to save memory
    weight_decay: float = 0.1
    warmup: float = 0.06  # share of the steps
    clip: float = 0.0  # maximum norm of the gradient; 0: no clipping
    class_weights: str = "none"  # none, mild (frequency to the power of -1/4), inverse (frequency)
    bf16: str = "auto"  # auto: if the hardware supports it natively; yes, no
    device: str = "auto"  # auto, cpu, cuda
    threads: int = 0  # 0: torch's default
    pause: float = 60.0  # seconds between checkpoints within an epoch
    seed: int = 0  # the first seed; --seeds N uses this one and the N - 1 that follow


@dataclass
class FinetuneConfig:
    """All settings of one fine-tuning."""

    data: WordsConfig = field(default_factory=WordsConfig)
    model: ClassifierConfig = field(default_factory=ClassifierConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)
    train: TuneConfig = field(default_factory=TuneConfig)


CHOICES = {
    "data.cleaning": ("quotes", "cosmic"),
    "model.head": ("dense", "linear"),
    "train.class_weights": ("none", "mild", "inverse"),
    "train.bf16": ("auto", "yes", "no"),
    "train.device": ("auto", "cpu", "cuda"),
}
BOUNDS = {
    "model.dropout": (0.0, 0.9),
    "lora.rank": (1, 1024),
    "lora.alpha": (1e-3, 1e5),
    "lora.dropout": (0.0, 0.9),
    "lora.lr": (1e-12, 10.0),
    "train.epochs": (1, 100_000),
    "train.lr": (1e-12, 10.0),
    "train.batch": (1, 100_000),
    "train.accumulate": (1, 100_000),
    "train.weight_decay": (0.0, 10.0),
    "train.warmup": (0.0, 0.99),
    "train.clip": (0.0, 1e9),
    "train.threads": (0, 1024),
    "train.pause": (0.0, 1e6),
    "train.seed": (0, 2**31),
}


def load_settings(settings: str, model: str, overrides: Sequence[str] = ()) -> FinetuneConfig:
    """Merge the defaults, configs/finetune/<settings>.yaml, <model>.yaml and the overrides.

    settings: "iemocap", "meld", or anything else for the defaults alone. overrides: such as
    "train.epochs=2".

    Raises:
        MercError: unknown key (the message suggests the nearest), wrong type, or out of bounds.

    >>> load_settings("meld", "minilm", ["train.epochs=2"]).train.epochs
    2
    """
    layers = []
    for name in (settings, model):
        packaged = resources.files("configs") / "finetune" / f"{name}.yaml"
        if "/" not in name and packaged.is_file():
            layers.append((f"configs/finetune/{name}.yaml", packaged.read_text("utf-8")))
    chosen = build_configuration(FinetuneConfig, layers, list(overrides))
    check_values(chosen, CHOICES, BOUNDS)
    if chosen.train.batch % chosen.train.accumulate:
        raise MercError(
            f"train.accumulate = {chosen.train.accumulate}: not a divisor of train.batch",
            f"choose a divisor of {chosen.train.batch}",
        )
    if not chosen.lora.layers:
        raise MercError("lora.layers is empty", "give endings of layer names (query,value), or all")
    result = OmegaConf.to_object(chosen)
    assert isinstance(result, FinetuneConfig)
    return result
