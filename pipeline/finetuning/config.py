"""The settings of `merc finetune text`: COSMIC's recipe, YAML defaults per corpus and encoder, `--set key=value`.

COSMIC (Ghosal et al. 2020, Findings of EMNLP): RoBERTa-Large as a classifier of single utterances, Adam (0.9, 0.98),
eps 1e-6, weight decay 0.1, linear decay after 6 % of warm-up, 30 epochs of batches of 32.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import resources

from omegaconf import OmegaConf

from pipeline.training.config import check_values, settle

__all__ = ["METHODS", "FinetuneConfig", "load_settings"]

METHODS = ("full", "lora")


@dataclass
class WordsConfig:
    cleaning: str = "quotes"  # typed quotes for curly ones; cosmic: whatever is not ASCII is dropped, as COSMIC did


@dataclass
class ClassifierConfig:
    dropout: float = 0.1  # of states, attention and head
    head: str = "dense"  # dense (RoBERTa's: dropout, dense, tanh, dropout, output) or linear (dropout, output)


@dataclass
class LoraConfig:
    """Low-rank changes (Hu et al. 2022) instead of all weights: --method lora."""

    rank: int = 16
    alpha: float = 32.0  # changes are scaled by alpha / rank
    dropout: float = 0.1
    layers: list[str] = field(
        default_factory=lambda: ["query", "value"]
    )  # ends of their names; all = every linear one
    lr: float = 3e-4


@dataclass
class TuneConfig:
    epochs: int = 30
    lr: float = 1e-5  # of --method full
    batch: int = 32  # utterances a step
    accumulate: int = 1  # parts of a batch that are in memory one after the other
    weight_decay: float = 0.1
    warmup: float = 0.06  # share of the steps
    clip: float = 0.0  # greatest norm of the gradient; 0 = as it is
    class_weights: str = "none"  # none, mild (frequency to the power of -1/4), inverse (frequency)
    bf16: str = "auto"  # auto: where the processor has the instructions; yes, no
    device: str = "auto"  # auto, cpu, cuda
    threads: int = 0  # 0 = as torch has it
    pause: float = 60.0  # seconds between checkpoints within an epoch
    seed: int = 0  # of the first; --seeds N takes this and the N - 1 that follow


@dataclass
class FinetuneConfig:
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


def load_settings(dataset: str, model: str, overrides: list[str] | None = None) -> FinetuneConfig:
    """The recipe under what configs/finetune/<dataset>.yaml and then <model>.yaml say, under the overrides.

    Raises ValueError for an unknown key (naming the nearest), a value of the wrong type or out of bounds.
    """
    layers = []
    for name in (dataset, model):
        packaged = resources.files("configs") / "finetune" / f"{name}.yaml"
        if "/" not in name and packaged.is_file():
            layers.append((f"configs/finetune/{name}.yaml", packaged.read_text("utf-8")))
    chosen = settle(FinetuneConfig, layers, overrides or [])
    check_values(chosen, CHOICES, BOUNDS)
    if chosen.train.batch % chosen.train.accumulate:
        raise ValueError(
            f"train.accumulate = {chosen.train.accumulate}: want a divisor of train.batch, "
            f"{chosen.train.batch}"
        )
    if not chosen.lora.layers:
        raise ValueError("lora.layers is empty: name ends of layers, as query,value, or all")
    result = OmegaConf.to_object(chosen)
    assert isinstance(result, FinetuneConfig)
    return result
