"""`merc pretrain visual`: train the face network on FER+.

Recipe: label distributions (Barsoum et al. 2016), AdamW with one cycle, growing input
size, flips / rotation about the centre / shift / scale / grey-level jitter on training images only.  A training that
goes on from another may be taught its answers beside the votes, ten people's being few (Furlanello et al. 2018, ICML).
"""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from css_model.allocator import keep_freed_memory
from extractors.densenet import FaceNet, FaceNetConfig, load_face_net, pack_face_net
from pipeline.core.files import write_bytes, write_text
from pipeline.recipes.face_card import face_card
from pipeline.recipes.ferplus import confusion_picture, load_ferplus, read_faces, score_faces

__all__ = ["PretrainConfig", "parse_stages", "pretrain_visual"]


@dataclass(frozen=True)
class PretrainConfig:
    """Stages are (input side in pixels, epochs); small images first are most of the learning for half the time."""

    stages: tuple[tuple[int, int], ...] = ((32, 3), (40, 5), (48, 11), (64, 3))
    batch: int = 128
    lr: float = 2e-3
    weight_decay: float = 0.05
    jitter: float = 1.0  # strength of every change to the training images but the flip
    start: str = ""  # a model.safetensors of `pretrain_visual` to go on from
    distill: float = (
        0.0  # share of the starting network's own answer in what is taught, the rest is the votes
    )
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.distill < 1 or (self.distill and not self.start):
            raise ValueError(
                f"distill {self.distill:g}: a share from 0 to below 1 of the answer of the network "
                "--start"
            )


def parse_stages(text: str) -> tuple[tuple[int, int], ...]:
    """ "40x6,48x7" to ((40, 6), (48, 7)).  Raises ValueError."""
    try:
        stages = tuple(
            (int(side), int(epochs))
            for side, epochs in (part.split("x") for part in text.split(","))
        )
    except ValueError as error:
        raise ValueError(f"stages {text!r}: want side x epochs, as 32x3,40x5,48x11,64x3") from error
    if any(side < 16 or epochs < 1 for side, epochs in stages):
        raise ValueError(f"stages {text!r}: sides from 16 pixels and epochs from 1")
    return stages


def pretrain_visual(
    data: Path, out: Path, config: PretrainConfig | None = None, report=print
) -> dict:
    """Train, or resume from `out/checkpoint.pt`; write model.safetensors, metrics.json, log.csv, confusion.png.

    The result is the last epoch's network: no epoch is selected, so the figures on valid are clean.
    """
    config = config or PretrainConfig()
    train, valid = load_ferplus(data)
    keep_freed_memory()
    torch.manual_seed(config.seed)
    grey = train.images.float() / 255
    net = FaceNet(
        FaceNetConfig(
            config.stages[-1][0], round(grey.mean().item(), 4), round(grey.std().item(), 4)
        )
    )
    del grey
    earlier: list[dict] = []
    target = train.votes
    if config.start:
        net.load_state_dict(load_face_net(Path(config.start)).state_dict())
        told = Path(config.start).with_name("metrics.json")
        if not told.is_file():
            raise FileNotFoundError(
                f"{told}: missing; --start is a model.safetensors in the folder of its training"
            )
        earlier = json.loads(told.read_text("utf-8"))["trainings"]
        if config.distill:
            with torch.autocast("cpu", torch.bfloat16):
                answers = read_faces(net, train.images, flip=False)
            target = target.lerp(answers.float().softmax(1), config.distill)
    sizes = [size for size, epochs in config.stages for _ in range(epochs)]
    steps = len(train.images) // config.batch
    if not steps:
        raise ValueError(f"{data}: fewer training faces than one batch of {config.batch}")
    optimizer = torch.optim.AdamW(
        net.parameters(), config.lr, weight_decay=config.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.lr, total_steps=steps * len(sizes)
    )
    saved: dict[str, Any] = {"net": net, "optimizer": optimizer, "schedule": schedule}
    log: list[dict] = []
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        log = _restore(checkpoint, saved, config)
        report(f"resumed after epoch {len(log)} of {len(sizes)}")

    for epoch in range(len(log), len(sizes)):
        chance = torch.Generator().manual_seed(
            config.seed * 1000 + epoch
        )  # resuming changes nothing
        order = torch.randperm(len(train.images), generator=chance)
        net.train()
        total = 0.0
        for step in range(steps):
            rows = order[step * config.batch : (step + 1) * config.batch]
            images = _augment(net.prepare(train.images[rows], sizes[epoch]), chance, config.jitter)
            with torch.autocast("cpu", torch.bfloat16):
                logits = net(images)
            loss = F.cross_entropy(logits.float(), target[rows])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            total += loss.item()
            if step % 50 == 49:
                report(
                    f"epoch {epoch + 1}/{len(sizes)} at {sizes[epoch]} px, step {step + 1}/{steps}, "
                    f"loss {total / (step + 1):.4f}"
                )
        scores = score_faces(net, valid, sizes[epoch], flip=False)
        log.append(
            {
                "epoch": epoch + 1,
                "size": sizes[epoch],
                "loss": round(total / steps, 5),
                "valid_accuracy": round(scores["accuracy"], 5),
                "valid_macro_f1": round(scores["macro_f1"], 5),
            }
        )
        report(str(log[-1]))
        buffer = io.BytesIO()
        torch.save(
            {"log": log, "config": asdict(config)} | {k: v.state_dict() for k, v in saved.items()},
            buffer,
        )
        write_bytes(checkpoint, buffer.getvalue())

    write_bytes(out / "model.safetensors", pack_face_net(net))
    final = load_face_net(out / "model.safetensors")
    scores = score_faces(final, valid) | {
        "trainings": [*earlier, {**asdict(config), "start": None}]
    }
    write_text(out / "metrics.json", json.dumps(scores, indent=1, sort_keys=True) + "\n")
    table = io.StringIO()
    writer = csv.DictWriter(table, list(log[0]))
    writer.writeheader()
    writer.writerows(log)
    write_text(out / "log.csv", table.getvalue())
    write_bytes(out / "confusion.png", confusion_picture(np.array(scores["confusion"])))
    write_text(out / "card.md", face_card(scores))
    return scores


def _restore(path: Path, saved: dict, config: PretrainConfig) -> list[dict]:
    state = torch.load(path, weights_only=True)
    if json.dumps(state["config"]) != json.dumps(asdict(config)):
        raise ValueError(
            f"{path}: made with other settings ({state['config']}); name another --out, or delete it"
        )
    for name, thing in saved.items():
        thing.load_state_dict(state[name])
    return state["log"]


def _augment(images: Tensor, chance: torch.Generator, jitter: float) -> Tensor:
    """Flip; and, at jitter 1, rotate by up to 15 degrees about the centre, scale, shift; contrast, brightness."""
    n = len(images)

    def uniform(most: float) -> Tensor:
        return (2 * torch.rand(n, generator=chance) - 1) * most * jitter

    angle, scale = uniform(math.pi / 12), 1 + uniform(0.1)
    flip = (torch.rand(n, generator=chance) < 0.5).float() * 2 - 1
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    theta = torch.stack(
        [
            torch.stack([cos * flip, -sin, uniform(0.08)], 1),
            torch.stack([sin * flip, cos, uniform(0.08)], 1),
        ],
        1,
    )
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    images = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    images = images * (1 + uniform(0.2)).view(-1, 1, 1, 1) + uniform(0.2).view(-1, 1, 1, 1)
    return images.contiguous(memory_format=torch.channels_last)
