"""Fine-tune one text encoder with one seed.

Training resumes from its last checkpoint; the result is the same however often it was killed.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save
from sklearn.metrics import f1_score
from torch import Tensor
from torch.utils.data import DataLoader

from css_model import inverse_frequency
from extractors.text import TextExtractor
from pipeline.core.errors import MercError
from pipeline.core.files import write_bytes, write_text
from pipeline.finetuning.classifier import TextClassifier
from pipeline.finetuning.config import FinetuneConfig

__all__ = ["Examples", "batches", "tune"]

POOL = 50  # batches that are sorted by length together: little padding, yet random batches
EVALUATION_BATCH = 64  # utterances
CLASS_WEIGHTS = {"none": 0.0, "mild": 0.25, "inverse": 1.0}  # powers of the inverse frequency


@dataclass(frozen=True)
class Examples:
    """Token ids of n utterances and their labels (n,)."""

    tokens: list[list[int]]
    labels: np.ndarray

    def by_length(self) -> Examples:
        """Sort by number of tokens."""
        order = sorted(range(len(self.tokens)), key=lambda k: len(self.tokens[k]))
        return Examples([self.tokens[k] for k in order], self.labels[order])


def tune(
    extractor: TextExtractor,
    train: Examples,
    valid: Examples,
    classes: int,
    method: str,
    config: FinetuneConfig,
    seed: int,
    folder: Path,
    report: Callable[[dict[str, Any]], None] = lambda row: None,
) -> None:
    """Fine-tune; write the trained weights of the best epoch and the history into `folder`.

    The files are best.safetensors and, written last, history.json; if that exists, nothing is done.
    The best epoch is the first with the highest weighted F1 on valid.

    report: gets a row after every step with seed, steps, step, and the loss and weighted_f1 of the
    last epoch.

    Raises:
        MercError: the loss became NaN or infinite.
    """
    if (folder / "history.json").exists():
        return
    options = config.train
    folder.mkdir(parents=True, exist_ok=True)
    training = _Training(extractor, train.labels, classes, method, config, seed)
    lengths = [len(tokens) for tokens in train.tokens]
    size = options.batch // options.accumulate
    steps = math.ceil(math.ceil(len(lengths) / size) / options.accumulate)  # per epoch
    total = steps * options.epochs
    warmup = math.ceil(options.warmup * total)
    checkpoint, saved = folder / "checkpoint.pt", time.monotonic()
    state = training.load(checkpoint) if checkpoint.exists() else _State()
    random = _random_state(training.device)

    for epoch in range(len(state.history), options.epochs):
        rest = batches(lengths, size, seed, epoch)[len(state.losses) * options.accumulate :]
        loader = iter(training.loader(train, batch_sampler=rest))
        if state.losses:  # resumed within the epoch; a new loader has drawn a random number
            _set_random_state(random, training.device)
        while parts := list(islice(loader, options.accumulate)):
            step = epoch * steps + len(state.losses)
            loss = training.step(parts, _schedule(step, warmup, total))
            if not math.isfinite(loss):
                raise MercError(
                    f"seed {seed}, step {step + 1}: the loss became NaN or infinite",
                    "lower train.lr or lora.lr, or set train.clip=1 or train.bf16=no",
                )
            state.losses.append(loss)
            report({"seed": seed, "steps": total, "step": step + 1, **state.latest()})
            if len(state.losses) < steps and time.monotonic() - saved > options.pause:
                training.save(checkpoint, state)
                saved = time.monotonic()
        figures = training.evaluate(valid)
        if figures["valid_weighted_f1"] > state.best()[1]:
            write_bytes(folder / "best.safetensors", save(training.model.trained_weights()))
        mean = round(sum(state.losses) / steps, 5)
        state = _State([*state.history, {"epoch": epoch + 1, "loss": mean, **figures}])
        training.save(checkpoint, state)
        saved = time.monotonic()

    result = {"best_epoch": state.best()[0], "epochs": state.history}
    write_text(folder / "history.json", json.dumps(result))
    checkpoint.unlink()


def batches(lengths: list[int], size: int, seed: int, epoch: int) -> list[list[int]]:
    """Cut utterances into batches of similar length, in an order given by seed and epoch.

    >>> sorted(sorted(batch) for batch in batches([5, 9, 5, 9], 2, seed=0, epoch=0))
    [[0, 2], [1, 3]]
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths)).tolist()
    result: list[list[int]] = []
    for start in range(0, len(order), size * POOL):
        pool = sorted(order[start : start + size * POOL], key=lengths.__getitem__)
        result += [pool[k : k + size] for k in range(0, len(pool), size)]
    return [result[k] for k in rng.permutation(len(result))]


@dataclass
class _State:
    """How far training has come: figures of the finished epochs, losses of this epoch's steps."""

    history: list[dict[str, Any]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def best(self) -> tuple[int, float]:
        """Return the first epoch with the highest weighted F1, and this F1; (0, -1) if none."""
        scores = [row["valid_weighted_f1"] for row in self.history]
        return (scores.index(max(scores)) + 1, max(scores)) if scores else (0, -1.0)

    def latest(self) -> dict[str, float]:
        """Return loss and weighted F1 of the last finished epoch; NaN if there is none."""
        row = self.history[-1] if self.history else {}
        names = {"loss": "loss", "weighted_f1": "valid_weighted_f1"}
        return {name: row.get(key, math.nan) for name, key in names.items()}


class _Training:
    """A classifier with its optimiser: one step, the figures on valid, a checkpoint."""

    def __init__(
        self,
        extractor: TextExtractor,
        labels: np.ndarray,
        classes: int,
        method: str,
        config: FinetuneConfig,
        seed: int,
    ) -> None:
        options = config.train
        self.extractor, self.clip = extractor, options.clip
        self.device = torch.device(extractor.device)
        torch.manual_seed(seed)
        self.model = TextClassifier(extractor, classes, method, config).to(self.device)
        self.rate = options.lr if method == "full" else config.lora.lr
        self.optimizer = _optimizer(self.model, options.weight_decay)
        power = CLASS_WEIGHTS[options.class_weights]
        self.weights = None
        if power:
            weights = inverse_frequency(torch.from_numpy(labels), classes, power)
            self.weights = weights.to(self.device, torch.float32)
        self.bf16 = _use_bf16(options.bf16, self.device)
        torch.manual_seed(seed)

    def loader(self, examples: Examples, **options: Any) -> DataLoader:
        """Return a loader of batches: input_ids and attention_mask (n, tokens), labels (n,)."""
        items: Any = list(zip(examples.tokens, examples.labels.tolist(), strict=True))
        return DataLoader(items, collate_fn=self._collate, **options)

    def step(self, parts: list[dict[str, Tensor]], factor: float) -> float:
        """Update the weights by one batch, given in parts; return its loss.

        factor: share of the learning rate. Does not update by a loss that is NaN or infinite.
        """
        self.model.train()
        total = 0.0
        for batch in parts:
            loss = self._forward(batch)[0] / len(parts)
            loss.backward()
            total += loss.item()
        if math.isfinite(total):
            if self.clip:
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate * factor
            self.optimizer.step()
        self.optimizer.zero_grad()
        return total

    @torch.no_grad()
    def evaluate(self, examples: Examples) -> dict[str, float]:
        """Measure loss, accuracy and weighted F1."""
        self.model.eval()
        ordered = examples.by_length()
        losses, guess = [], []
        for batch in self.loader(ordered, batch_size=EVALUATION_BATCH):
            loss, logits = self._forward(batch)
            losses += [loss.item()] * len(logits)
            guess += logits.argmax(1).tolist()
        truth = ordered.labels
        f1 = f1_score(truth, guess, average="weighted", labels=np.unique(truth))
        return {
            "valid_loss": round(float(np.mean(losses)), 5),
            "valid_accuracy": float((truth == guess).mean()),
            "valid_weighted_f1": float(f1),
        }

    def save(self, path: Path, state: _State) -> None:
        """Write a checkpoint; a process killed meanwhile leaves the last one."""
        content = {
            "weights": self.model.trained_weights(),
            "optimizer": self.optimizer.state_dict(),
            "random": _random_state(self.device),
            "state": asdict(state),
        }
        torch.save(content, path.with_suffix(".tmp"))
        os.replace(path.with_suffix(".tmp"), path)

    def load(self, path: Path) -> _State:
        """Continue from a checkpoint."""
        content = torch.load(path, weights_only=True)
        self.model.load_state_dict(content["weights"], strict=False)
        self.optimizer.load_state_dict(content["optimizer"])
        _set_random_state(content["random"], self.device)
        return _State(**content["state"])

    def _collate(self, items: list[tuple[list[int], int]]) -> dict[str, Tensor]:
        padded = self.extractor.pad([tokens for tokens, _ in items])
        batch = {**padded, "labels": torch.tensor([label for _, label in items])}
        return {name: tensor.to(self.device) for name, tensor in batch.items()}

    def _forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the mean loss of a batch and its logits (n, classes)."""
        with torch.autocast(self.device.type, torch.bfloat16, self.bf16):
            logits = self.model(batch["input_ids"], batch["attention_mask"])
        return F.cross_entropy(logits, batch["labels"], self.weights), logits


def _optimizer(model: torch.nn.Module, decay: float) -> torch.optim.Optimizer:
    """Return AdamW with COSMIC's settings; biases and norms have no weight decay."""
    groups: tuple[list[Tensor], list[Tensor]] = ([], [])
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            groups[weight.ndim < 2 or "bias" in name].append(weight)
    return torch.optim.AdamW(
        [
            {"params": groups[0], "weight_decay": decay},
            {"params": groups[1], "weight_decay": 0.0},
        ],
        betas=(0.9, 0.98),
        eps=1e-6,
        fused=True,
    )


def _schedule(step: int, warmup: int, total: int) -> float:
    """Return the share of the learning rate: a linear warm-up, then linear decay to 0.

    >>> [_schedule(step, 2, 6) for step in range(6)]
    [0.0, 0.5, 1.0, 0.75, 0.5, 0.25]
    """
    return step / warmup if step < warmup else (total - step) / (total - warmup)


def _use_bf16(choice: str, device: torch.device) -> bool:
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported()
    else:
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return choice == "yes" or (choice == "auto" and native)


def _random_state(device: torch.device) -> dict[str, Tensor]:
    """Return the states of the random number generators that dropout uses."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _set_random_state(states: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
