"""Fine-tune one text encoder with one seed: transformers' Trainer, resumable, the same result however often killed."""

from __future__ import annotations

import json
import logging
import math
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file
from sklearn.metrics import f1_score
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.utils import logging as transformers_logging

from css_model import inverse_frequency
from extractors.text import TextExtractor, pooled
from pipeline.core.files import write_bytes, write_text
from pipeline.finetuning.config import FinetuneConfig

__all__ = ["Examples", "make_head", "tune"]

Report = Callable[[dict[str, Any]], None]
MARK = "complete"  # written last into a checkpoint: without it a kill came between
POOL = 50  # batches whose utterances are sorted by length together: padding stays small, batches random


@dataclass(frozen=True)
class Examples:
    """Tokens of n utterances and their labels (n,)."""

    rows: list[list[int]]
    labels: np.ndarray

    def items(self) -> list[dict[str, Any]]:
        return [
            {"input_ids": row, "label": int(label)}
            for row, label in zip(self.rows, self.labels, strict=True)
        ]

    def by_length(self) -> Examples:
        order = sorted(range(len(self.rows)), key=lambda k: len(self.rows[k]))
        return Examples([self.rows[k] for k in order], self.labels[order])


def tune(
    extractor: TextExtractor,
    train: Examples,
    valid: Examples,
    classes: int,
    method: str,
    config: FinetuneConfig,
    seed: int,
    folder: Path,
    report: Report = lambda row: None,
    head: dict[str, Tensor] | None = None,
) -> None:
    """Fine-tune into `folder`: best.safetensors (the trained weights of the best epoch), history.json last.

    The epoch kept has the best weighted F1 on valid, the first of equals.  Does nothing when history.json is there.
    head: weights of a head that stays as it is (folds share a space through it).
    Raises ValueError when the loss is not finite.
    """
    if (folder / "history.json").exists():
        return
    chosen = config.train
    torch.manual_seed(seed)
    with quiet():
        reader = Reader(extractor, classes, method, config, train.labels)
    if head is not None:
        reader.head.load_state_dict(head)
        reader.head.requires_grad_(False)
    batches = Batches([len(row) for row in train.rows], chosen.batch // chosen.accumulate, seed)
    steps = math.ceil(len(batches) / chosen.accumulate)
    cpu = chosen.device == "cpu" or not torch.cuda.is_available()
    keeper = Keeper(
        reader,
        batches,
        steps,
        folder,
        chosen.pause,
        lambda row: report({"seed": seed, "steps": steps * chosen.epochs, **row}),
    )
    with quiet():
        trainer = FiniteTrainer(
            model=reader,
            train_dataset=train.items(),
            eval_dataset=valid.by_length().items(),
            data_collator=lambda items: (
                dict(extractor.pad([item["input_ids"] for item in items]))
                | {"labels": torch.tensor([item["label"] for item in items])}
            ),
            compute_metrics=_metrics,
            callbacks=[keeper],
            args=TrainingArguments(
                output_dir=str(folder / "checkpoints"),
                num_train_epochs=chosen.epochs,
                seed=seed,
                per_device_train_batch_size=chosen.batch // chosen.accumulate,
                per_device_eval_batch_size=64,
                gradient_accumulation_steps=chosen.accumulate,
                optim="adamw_torch_fused",
                learning_rate=chosen.lr if method == "full" else config.lora.lr,
                weight_decay=chosen.weight_decay,
                adam_beta1=0.9,
                adam_beta2=0.98,
                adam_epsilon=1e-6,
                lr_scheduler_type="linear",
                warmup_steps=math.ceil(chosen.warmup * steps * chosen.epochs),
                max_grad_norm=chosen.clip,
                bf16=_bf16(chosen.bf16, cpu),
                use_cpu=cpu,
                save_total_limit=2,
                save_strategy="no",
                eval_strategy="no",
                logging_strategy="no",
                logging_nan_inf_filter=False,
                report_to="none",
                disable_tqdm=True,
                remove_unused_columns=False,
                dataloader_pin_memory=False,
            ),
        )
        trainer.batches, trainer.where = batches, f"seed {seed}"
        trainer.remove_callback(PrinterCallback)
        trainer.train(resume_from_checkpoint=_last(folder / "checkpoints"))
    write_text(
        folder / "history.json",
        json.dumps(
            {"best_epoch": keeper.best()[0], "epochs": _epochs(trainer.state.log_history, steps)}
        ),
    )
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


class Reader(nn.Module):
    """Encoder, the extractor's pooling, head.  With LoRA only the changes and the head are trained."""

    def __init__(
        self,
        extractor: TextExtractor,
        classes: int,
        method: str,
        config: FinetuneConfig,
        labels: np.ndarray,
    ) -> None:
        super().__init__()
        self.encoder = extractor.encoder(config.model.dropout)
        self.pooling = extractor.pooling
        if method == "lora":
            self.encoder = _with_changes(self.encoder, config)
        else:  # what the vector does not pass through would be a weight without gradient
            for name, weight in self.encoder.named_parameters():
                weight.requires_grad_(not name.startswith("pooler."))
        self.head = make_head(config.model.head, extractor.dim, classes, config.model.dropout)
        power = {"none": 0.0, "mild": 0.25, "inverse": 1.0}[config.train.class_weights]
        self.balance = (
            inverse_frequency(torch.from_numpy(labels), classes, power) if power else None
        )

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        logits = self.head(pooled(states, attention_mask, self.pooling)).float()
        weights = None if self.balance is None else self.balance.to(logits)
        return {"loss": F.cross_entropy(logits, labels, weights), "logits": logits}

    def trained(self) -> dict[str, Tensor]:
        """What a checkpoint holds: trained weights, and the head also where it is fixed."""
        return {
            name: weight.detach().cpu().contiguous()
            for name, weight in self.named_parameters()
            if weight.requires_grad or name.startswith("head.")
        }


def make_head(kind: str, width: int, classes: int, dropout: float = 0.0) -> nn.Sequential:
    """dense: RoBERTa's own classification head (dropout, dense, tanh, dropout, output); linear: dropout, output."""
    if kind == "linear":
        return nn.Sequential(nn.Dropout(dropout), nn.Linear(width, classes))
    return nn.Sequential(
        nn.Dropout(dropout),
        nn.Linear(width, width),
        nn.Tanh(),
        nn.Dropout(dropout),
        nn.Linear(width, classes),
    )


class Batches:
    """Batches of utterances of like length in an order that depends on seed and epoch alone."""

    def __init__(self, lengths: list[int], size: int, seed: int) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch, self.drop_last = (
            lengths,
            size,
            seed,
            0,
            False,
        )

    def __len__(self) -> int:
        return math.ceil(len(self.lengths) / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        order, size = rng.permutation(len(self.lengths)).tolist(), self.batch_size
        made = []
        for start in range(0, len(order), size * POOL):
            near = sorted(order[start : start + size * POOL], key=self.lengths.__getitem__)
            made += [near[k : k + size] for k in range(0, len(near), size)]
        yield from (made[k] for k in rng.permutation(len(made)))


class FiniteTrainer(Trainer):
    """The Trainer with our batches, checkpoints of the trained weights alone, and an end to losses that are none."""

    batches: Batches
    where: str

    def get_train_dataloader(self) -> DataLoader:
        loader: DataLoader = DataLoader(
            self.train_dataset,  # type: ignore[arg-type]
            batch_sampler=self.batches,
            collate_fn=self.data_collator,
        )
        return self.accelerator.prepare(loader)

    def training_step(self, *args: Any, **options: Any) -> Tensor:
        loss = super().training_step(*args, **options)
        if not torch.isfinite(loss):
            raise ValueError(
                f"{self.where}, step {self.state.global_step + 1}: training left the finite numbers (loss "
                f"{loss.item()}); lower train.lr or lora.lr, or set train.clip=1 or train.bf16=no"
            )
        return loss

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.model.trained(), folder / "model.safetensors")  # type: ignore[union-attr, operator]

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self.model.load_state_dict(
            load_file(Path(resume_from_checkpoint) / "model.safetensors"),  # type: ignore
            strict=False,
        )


class Keeper(TrainerCallback):
    """Evaluates and saves at the end of every epoch, saves in between, and keeps the weights of the best epoch."""

    def __init__(
        self,
        reader: Reader,
        batches: Batches,
        steps: int,
        folder: Path,
        pause: float,
        report: Report,
    ):
        self.reader, self.batches, self.steps, self.folder, self.report = (
            reader,
            batches,
            steps,
            folder,
            report,
        )
        self.pause, self.saved, self.last = (
            pause,
            time.monotonic(),
            {"loss": math.nan, "weighted_f1": math.nan},
        )

    def best(self) -> tuple[int, float]:
        """Epoch and score of the weights that are kept; (0, -1) while there are none."""
        if not (self.folder / "best.safetensors").exists():
            return 0, -1.0
        with safe_open(self.folder / "best.safetensors", "pt") as file:
            said = json.loads(file.metadata()["merc"])
        return said["epoch"], said["score"]

    def on_epoch_begin(self, args, state, control, **rest: Any) -> None:
        self.batches.epoch = state.global_step // self.steps

    def on_step_end(self, args, state, control, **rest: Any) -> None:
        ends = state.global_step % self.steps == 0
        control.should_evaluate = (
            ends  # in the same breath as the checkpoint: resuming never leaves one out
        )
        control.should_save = control.should_log = (
            ends or time.monotonic() - self.saved > self.pause
        )
        self.report({"step": state.global_step, **self.last})

    def on_evaluate(self, args, state, control, **rest: Any) -> None:
        epoch, score = state.global_step // self.steps, rest["metrics"]["eval_weighted_f1"]
        if score > self.best()[1]:
            write_bytes(
                self.folder / "best.safetensors",
                save(self.reader.trained(), {"merc": json.dumps({"epoch": epoch, "score": score})}),
            )
        self.last = {
            "loss": _epochs(state.log_history, self.steps)[-1]["loss"],
            "weighted_f1": score,
        }

    def on_save(self, args, state, control, **rest: Any) -> None:
        write_text(self.folder / "checkpoints" / f"checkpoint-{state.global_step}" / MARK, "")
        self.saved = time.monotonic()


def _last(folder: Path) -> str | None:
    """The newest whole checkpoint; what a kill left of others is removed."""
    steps = []
    for path in folder.glob("checkpoint-*"):
        if (path / MARK).exists():
            steps.append(int(path.name.rpartition("-")[2]))
        else:
            shutil.rmtree(path)
    return str(folder / f"checkpoint-{max(steps)}") if steps else None


def _epochs(log: list[dict[str, Any]], steps: int) -> list[dict[str, Any]]:
    """Per epoch: mean loss of its steps, and what was measured on valid."""
    sums: dict[int, list[float]] = {}
    valid: dict[int, dict[str, float]] = {}
    before = 0
    for entry in log:
        epoch = math.ceil(entry["step"] / steps)
        if "loss" in entry:
            total = sums.setdefault(epoch, [0.0, 0])
            total[0] += entry["loss"] * (entry["step"] - before)
            total[1] += entry["step"] - before
            before = entry["step"]
        elif "eval_weighted_f1" in entry:
            valid[epoch] = {
                "valid_loss": round(entry["eval_loss"], 5),
                "valid_accuracy": entry["eval_accuracy"],
                "valid_weighted_f1": entry["eval_weighted_f1"],
            }
    return [
        {"epoch": epoch, "loss": round(total / count, 5), **valid.get(epoch, {})}
        for epoch, (total, count) in sorted(sums.items())
    ]


def _metrics(prediction: Any) -> dict[str, float]:
    guess = np.asarray(prediction.predictions).argmax(-1)
    truth = np.asarray(prediction.label_ids)
    return {
        "accuracy": float((guess == truth).mean()),
        "weighted_f1": float(f1_score(truth, guess, average="weighted", labels=np.unique(truth))),
    }


def _with_changes(encoder: Any, config: FinetuneConfig) -> Any:
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise ValueError("--method lora needs peft: pip install 'merc[finetune]'") from error
    ends = config.lora.layers
    layers = [
        name
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Linear)
        and not name.startswith("pooler.")
        and ("all" in ends or name.rpartition(".")[2] in ends)
    ]
    if not layers:
        names = sorted(
            {
                name.rpartition(".")[2]
                for name, m in encoder.named_modules()
                if isinstance(m, nn.Linear)
            }
        )
        raise ValueError(f"lora.layers = {ends}: this encoder has {', '.join(names)}, or all")
    return get_peft_model(
        encoder,
        LoraConfig(
            r=config.lora.rank,
            lora_alpha=config.lora.alpha,  # type: ignore
            lora_dropout=config.lora.dropout,
            target_modules=layers,
        ),
    )


def _bf16(choice: str, cpu: bool) -> bool:
    native = (
        torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        if cpu
        else torch.cuda.is_bf16_supported()
    )
    return choice == "yes" or (choice == "auto" and native)


@contextmanager
def quiet() -> Iterator[None]:
    """Transformers, accelerate and peft without their news."""
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    logger = logging.getLogger("accelerate")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(level)
        logger.setLevel(before)
