"""Train the face network on FER+ (`merc pretrain visual`).

The targets are label distributions (Barsoum et al. 2016). The optimiser is AdamW with a one-cycle
schedule. The input size grows. Training images are flipped, rotated, shifted, scaled, and changed
in contrast and brightness. A training that starts from an earlier one can add the predictions of
that network to the targets, since ten votes are few (Furlanello et al. 2018, ICML).
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from css_model.allocator import keep_freed_memory
from extractors.densenet import FaceNet, FaceNetConfig, load_face_net, pack_face_net
from pipeline.core.errors import MercError
from pipeline.core.files import write_bytes, write_text
from pipeline.recipes.face_card import face_card
from pipeline.recipes.ferplus import Faces, confusion_picture, load_ferplus, read_faces, score_faces

__all__ = ["PretrainConfig", "parse_stages", "pretrain_visual"]

Report = Callable[[str], None]


@dataclass(frozen=True)
class PretrainConfig:
    """Settings of one training.

    stages: (input side in pixels, epochs); small images first reach most of the accuracy in half
        the time.
    jitter: strength of all changes to the training images except the flip.
    start: a model.safetensors written by `pretrain_visual` to start from.
    distill: weight of the starting network's predictions in the targets, 0 to below 1.
    """

    stages: tuple[tuple[int, int], ...] = ((32, 3), (40, 5), (48, 11), (64, 3))
    batch: int = 128
    lr: float = 2e-3
    weight_decay: float = 0.05
    jitter: float = 1.0
    start: str = ""
    distill: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.distill < 1:
            raise MercError(f"--distill {self.distill:g}: out of range", "use 0 to below 1")
        if self.distill and not self.start:
            raise MercError(
                f"--distill {self.distill:g}: no network whose predictions to use",
                "name one with --start, or leave --distill out",
            )

    @property
    def sizes(self) -> list[int]:
        """Input side of each epoch in pixels."""
        return [size for size, epochs in self.stages for _ in range(epochs)]


def parse_stages(text: str) -> tuple[tuple[int, int], ...]:
    """Parse stages of training. Raises MercError.

    >>> parse_stages("40x6,48x7")
    ((40, 6), (48, 7))
    """
    try:
        pairs = [part.split("x") for part in text.split(",")]
        stages = tuple((int(side), int(epochs)) for side, epochs in pairs)
    except ValueError as error:
        remedy = "write side x epochs, such as 32x3,40x5,48x11,64x3"
        raise MercError(f"--stages {text!r}: not a list of stages", remedy) from error
    if any(side < 16 or epochs < 1 for side, epochs in stages):
        raise MercError(
            f"--stages {text!r}: out of range",
            "use sides of 16 pixels or more, and 1 epoch or more",
        )
    return stages


def pretrain_visual(
    data: Path,
    out: Path,
    config: PretrainConfig | None = None,
    report: Report = lambda line: None,
) -> dict[str, Any]:
    """Train the face network into the folder `out`, or resume from `out/checkpoint.pt`.

    Writes model.safetensors, metrics.json, log.csv, confusion.png and card.md, and returns the
    content of metrics.json. The model is that of the last epoch: no epoch is selected on valid.
    """
    config = config or PretrainConfig()
    train, valid = load_ferplus(data)
    if len(train.images) < config.batch:
        raise MercError(
            f"{data}: {len(train.images)} training faces are fewer than a batch of {config.batch}",
            "add training faces",
        )
    keep_freed_memory()
    torch.manual_seed(config.seed)
    net = _build_net(train.images, config)
    earlier = _load_start(net, config)
    targets = _targets(net, train, config)
    training = _Training(net, config, len(train.images) // config.batch)
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        training.restore(checkpoint)
        report(f"resumed after epoch {len(training.log)} of {len(config.sizes)}")

    for epoch in range(len(training.log), len(config.sizes)):
        loss = training.run_epoch(epoch, train.images, targets, report)
        scores = score_faces(net, valid, config.sizes[epoch], flip=False)
        training.log.append(
            {
                "epoch": epoch + 1,
                "size": config.sizes[epoch],
                "loss": round(loss, 5),
                "valid_accuracy": round(scores["accuracy"], 5),
                "valid_macro_f1": round(scores["macro_f1"], 5),
            }
        )
        report(str(training.log[-1]))
        training.save(checkpoint)

    write_bytes(out / "model.safetensors", pack_face_net(net))
    final = load_face_net(out / "model.safetensors")
    trainings = [*earlier, {**asdict(config), "start": None}]
    metrics = score_faces(final, valid) | {"trainings": trainings}
    _write_reports(out, metrics, training.log)
    return metrics


class _Training:
    """The state of one training, and its log: a dict per finished epoch."""

    def __init__(self, net: FaceNet, config: PretrainConfig, steps: int) -> None:
        self.net, self.config, self.steps = net, config, steps
        self.log: list[dict[str, Any]] = []
        self.optimizer = torch.optim.AdamW(
            net.parameters(), config.lr, weight_decay=config.weight_decay, fused=True
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, config.lr, total_steps=steps * len(config.sizes)
        )
        self._stateful: dict[str, Any] = {
            "net": net,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
        }

    def run_epoch(self, epoch: int, images: Tensor, targets: Tensor, report: Report) -> float:
        """Train one epoch; return its mean loss."""
        config, size = self.config, self.config.sizes[epoch]
        # a generator per epoch, so that a resumed training equals an uninterrupted one
        generator = torch.Generator().manual_seed(config.seed * 1000 + epoch)
        order = torch.randperm(len(images), generator=generator)
        self.net.train()
        total = 0.0
        for step in range(self.steps):
            rows = order[step * config.batch : (step + 1) * config.batch]
            batch = _augment(self.net.prepare(images[rows], size), generator, config.jitter)
            with torch.autocast("cpu", torch.bfloat16):
                logits = self.net(batch)
            loss = F.cross_entropy(logits.float(), targets[rows])
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.schedule.step()
            total += loss.item()
            if step % 50 == 49:
                report(
                    f"epoch {epoch + 1}/{len(config.sizes)} at {size} px, "
                    f"step {step + 1}/{self.steps}, loss {total / (step + 1):.4f}"
                )
        return total / self.steps

    def save(self, path: Path) -> None:
        """Write a checkpoint."""
        states = {name: item.state_dict() for name, item in self._stateful.items()}
        buffer = io.BytesIO()
        torch.save({"log": self.log, "config": asdict(self.config)} | states, buffer)
        write_bytes(path, buffer.getvalue())

    def restore(self, path: Path) -> None:
        """Continue from a checkpoint. Raises MercError if its settings differ from these."""
        saved = torch.load(path, weights_only=True)
        if json.dumps(saved["config"]) != json.dumps(asdict(self.config)):
            raise MercError(
                f"{path}: made with other settings ({saved['config']})",
                "name another folder with --out, or delete this file",
            )
        for name, item in self._stateful.items():
            item.load_state_dict(saved[name])
        self.log = saved["log"]


def _build_net(images: Tensor, config: PretrainConfig) -> FaceNet:
    grey = images.float() / 255
    mean, sd = round(grey.mean().item(), 4), round(grey.std().item(), 4)
    return FaceNet(FaceNetConfig(config.stages[-1][0], mean, sd))


def _load_start(net: FaceNet, config: PretrainConfig) -> list[dict[str, Any]]:
    """Load the weights to start from; return the settings of the trainings that made them."""
    if not config.start:
        return []
    net.load_state_dict(load_face_net(Path(config.start)).state_dict())
    metrics = Path(config.start).with_name("metrics.json")
    if not metrics.is_file():
        raise MercError(
            f"{metrics}: no such file",
            "give --start a model.safetensors that is still in the folder of its training",
        )
    return json.loads(metrics.read_text("utf-8"))["trainings"]


def _targets(net: FaceNet, train: Faces, config: PretrainConfig) -> Tensor:
    """(n, 8) targets: the votes, mixed with the starting network's predictions."""
    if not config.distill:
        return train.votes
    with torch.autocast("cpu", torch.bfloat16):
        logits = read_faces(net, train.images, flip=False)
    return train.votes.lerp(logits.float().softmax(1), config.distill)


def _augment(images: Tensor, generator: torch.Generator, jitter: float) -> Tensor:
    """Flip half of the images and change them all at random.

    At jitter 1: rotation by up to 15 degrees, scale up to 10 %, shift up to 4 %, contrast and
    brightness.
    """
    n = len(images)

    def uniform(limit: float) -> Tensor:
        return (2 * torch.rand(n, generator=generator) - 1) * limit * jitter

    angle, scale = uniform(math.pi / 12), 1 + uniform(0.1)
    flip = (torch.rand(n, generator=generator) < 0.5).float() * 2 - 1
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    first_row = torch.stack([cos * flip, -sin, uniform(0.08)], 1)
    second_row = torch.stack([sin * flip, cos, uniform(0.08)], 1)
    theta = torch.stack([first_row, second_row], 1)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    images = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    images = images * (1 + uniform(0.2)).view(-1, 1, 1, 1) + uniform(0.2).view(-1, 1, 1, 1)
    return images.contiguous(memory_format=torch.channels_last)


def _write_reports(out: Path, metrics: dict[str, Any], log: list[dict[str, Any]]) -> None:
    write_text(out / "metrics.json", json.dumps(metrics, indent=1, sort_keys=True) + "\n")
    table = io.StringIO()
    writer = csv.DictWriter(table, list(log[0]))
    writer.writeheader()
    writer.writerows(log)
    write_text(out / "log.csv", table.getvalue())
    write_bytes(out / "confusion.png", confusion_picture(np.array(metrics["confusion"])))
    write_text(out / "card.md", face_card(metrics))
