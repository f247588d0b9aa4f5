"""`merc pretrain visual`: train the face network on FER+.

Recipe: label distributions (Barsoum et al. 2016), AdamW with one cycle, growing input size, an
exponential moving average of the weights, flips / rotation about the centre / shift / scale / grey-level
jitter / erasing on training images only.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support
from torch import Tensor

from extractors.densenet import EMOTIONS, FaceNet, FaceNetConfig, load_face_net, pack_face_net
from pipeline.files import write_bytes, write_text

__all__ = ["Faces", "PretrainConfig", "load_ferplus", "parse_stages", "pretrain_visual", "score_faces"]


@dataclass(frozen=True)
class PretrainConfig:
    """Stages are (input side in pixels, epochs); small images first are most of the learning for half the time."""

    stages: tuple[tuple[int, int], ...] = ((40, 6), (48, 7), (64, 3))
    batch: int = 128
    lr: float = 2e-3
    weight_decay: float = 0.05
    ema: float = 0.998  # per step: a window of about two epochs
    seed: int = 0


def parse_stages(text: str) -> tuple[tuple[int, int], ...]:
    """"40x6,48x7" to ((40, 6), (48, 7)).  Raises ValueError."""
    try:
        stages = tuple((int(side), int(epochs)) for side, epochs in (part.split("x") for part in text.split(",")))
    except ValueError as error:
        raise ValueError(f"stages {text!r}: want side x epochs, as 40x6,48x7,64x3") from error
    if any(side < 16 or epochs < 1 for side, epochs in stages):
        raise ValueError(f"stages {text!r}: sides from 16 pixels and epochs from 1")
    return stages


class Faces(NamedTuple):
    """images (n, 48, 48) uint8, votes (n, 8) float32 shares, label (n,) int64, -1 where no majority."""

    images: Tensor
    votes: Tensor
    label: Tensor


def load_ferplus(path: Path) -> tuple[Faces, Faces]:
    """FER+ as (train, valid): single votes zeroed, valid without exact copies of training images.

    Raises ValueError when the file lacks `images`, `votes` or `split`, or their shapes differ.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            images, votes, split = file["images"], file["votes"], file["split"]
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{path}: not a FER+ file (images, votes, split as npz arrays): {error}") from error
    if images.ndim != 3 or votes.shape != (len(images), 10) or split.shape != (len(images),):
        raise ValueError(f"{path}: want images (n, h, w), votes (n, 10), split (n,); have "
                         f"{images.shape}, {votes.shape}, {split.shape}")
    votes = np.where(votes <= 1, 0, votes).astype(np.float32)
    total = votes.sum(1)
    majority = (votes.max(1) > 0.5 * total) & (votes.argmax(1) < 8)
    label = np.where(majority, votes.argmax(1), -1)
    known = votes[:, :8].sum(1) > 0
    shares = votes[:, :8] / np.maximum(votes[:, :8].sum(1, keepdims=True), 1)

    keys = [hashlib.sha256(image.tobytes()).digest() for image in images]
    seen = {key for key, part in zip(keys, split, strict=True) if part == 0}
    copies = np.array([key in seen for key in keys])

    def part(rows: np.ndarray) -> Faces:
        return Faces(torch.from_numpy(images[rows]), torch.from_numpy(shares[rows]), torch.from_numpy(label[rows]))

    train, valid = part((split == 0) & known), part((split == 1) & ~copies & majority)
    if not len(train.label) or not len(valid.label):
        raise ValueError(f"{path}: no training (split 0) or no validation faces (split 1)")
    return train, valid


def pretrain_visual(data: Path, out: Path, config: PretrainConfig | None = None, report=print) -> dict:
    """Train, or resume from `out/checkpoint.pt`; write model.safetensors, metrics.json, log.csv, confusion.png.

    The result is the last epoch's moving average: no epoch is selected, so the figures on valid are clean.
    """
    config = config or PretrainConfig()
    train, valid = load_ferplus(data)
    grey = train.images.float() / 255
    net = FaceNet(FaceNetConfig(config.stages[-1][0], round(grey.mean().item(), 4), round(grey.std().item(), 4)))
    del grey
    torch.manual_seed(config.seed)
    average = torch.optim.swa_utils.AveragedModel(
        net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(config.ema), use_buffers=True)
    averaged = cast(FaceNet, average.module)
    sizes = [size for size, epochs in config.stages for _ in range(epochs)]
    steps = len(train.images) // config.batch
    if not steps:
        raise ValueError(f"{data}: fewer training faces than one batch of {config.batch}")
    optimizer = torch.optim.AdamW(net.parameters(), config.lr, weight_decay=config.weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, total_steps=steps * len(sizes))
    saved: dict[str, Any] = {"net": net, "average": average, "optimizer": optimizer, "schedule": schedule}
    log: list[dict] = []
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        log = _restore(checkpoint, saved, config)
        report(f"resumed after epoch {len(log)} of {len(sizes)}")

    for epoch in range(len(log), len(sizes)):
        chance = torch.Generator().manual_seed(config.seed * 1000 + epoch)  # resuming changes nothing
        order = torch.randperm(len(train.images), generator=chance)
        net.train()
        total = 0.0
        for step in range(steps):
            rows = order[step * config.batch:(step + 1) * config.batch]
            images = _augment(net.prepare(train.images[rows], sizes[epoch]), chance)
            with torch.autocast("cpu", torch.bfloat16):
                logits = net(images)
            loss = F.cross_entropy(logits.float(), train.votes[rows])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            average.update_parameters(net)
            total += loss.item()
            if step % 50 == 49:
                report(f"epoch {epoch + 1}/{len(sizes)} at {sizes[epoch]} px, step {step + 1}/{steps}, "
                       f"loss {total / (step + 1):.4f}")
        scores = score_faces(averaged, valid, sizes[epoch], flip=False)
        log.append({"epoch": epoch + 1, "size": sizes[epoch], "loss": round(total / steps, 5),
                    "valid_accuracy": round(scores["accuracy"], 5), "valid_macro_f1": round(scores["macro_f1"], 5)})
        report(str(log[-1]))
        buffer = io.BytesIO()
        torch.save({"log": log, "config": asdict(config)} | {k: v.state_dict() for k, v in saved.items()}, buffer)
        write_bytes(checkpoint, buffer.getvalue())

    write_bytes(out / "model.safetensors", pack_face_net(averaged))
    final = load_face_net(out / "model.safetensors")
    scores = score_faces(final, valid) | {"config": asdict(config)}
    write_text(out / "metrics.json", json.dumps(scores, indent=1, sort_keys=True) + "\n")
    table = io.StringIO()
    writer = csv.DictWriter(table, list(log[0]))
    writer.writeheader()
    writer.writerows(log)
    write_text(out / "log.csv", table.getvalue())
    write_bytes(out / "confusion.png", _confusion_picture(np.array(scores["confusion"])))
    return scores


def _restore(path: Path, saved: dict, config: PretrainConfig) -> list[dict]:
    state = torch.load(path, weights_only=True)
    if json.dumps(state["config"]) != json.dumps(asdict(config)):
        raise ValueError(f"{path}: made with other settings ({state['config']}); name another --out, or delete it")
    for name, thing in saved.items():
        thing.load_state_dict(state[name])
    return state["log"]


def _augment(images: Tensor, chance: torch.Generator) -> Tensor:
    """Flip, rotate by up to 15 degrees about the centre, scale, shift; contrast, brightness; erase a rectangle."""
    n = len(images)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(n, generator=chance) * (high - low) + low

    angle, scale = uniform(-math.pi / 12, math.pi / 12), uniform(0.85, 1.15)
    flip = (torch.rand(n, generator=chance) < 0.5).float() * 2 - 1
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    theta = torch.stack([torch.stack([cos * flip, -sin, uniform(-0.12, 0.12)], 1),
                         torch.stack([sin * flip, cos, uniform(-0.12, 0.12)], 1)], 1)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    images = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    images = images * uniform(0.75, 1.25).view(-1, 1, 1, 1) + uniform(-0.3, 0.3).view(-1, 1, 1, 1)
    side = images.shape[-1]
    centre = torch.rand(n, 2, generator=chance) * side
    half = side * (0.06 + 0.12 * torch.rand(n, 2, generator=chance))
    half *= (torch.rand(n, 1, generator=chance) < 0.5)
    axis = torch.arange(side) + 0.5
    rows = (axis - centre[:, :1]).abs() < half[:, :1]
    columns = (axis - centre[:, 1:]).abs() < half[:, 1:]
    hole = rows[:, None, :, None] & columns[:, None, None, :]
    return images.masked_fill(hole, 0.0).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def score_faces(net: FaceNet, faces: Faces, size: int | None = None, flip: bool = True) -> dict:
    """Accuracy and F1 on majority labels, with 95 % bootstrap intervals over images; averaged over mirror images."""
    net.eval()
    logits = []
    for start in range(0, len(faces.images), 256):
        images = net.prepare(faces.images[start:start + 256], size)
        views = [images, images.flip(-1)] if flip else [images]
        logits.append(torch.stack([net(view) for view in views]).mean(0))
    truth, guess = faces.label.numpy(), torch.cat(logits).argmax(1).numpy()
    labels = np.arange(len(EMOTIONS))
    precision, recall, f1, support = precision_recall_fscore_support(truth, guess, labels=labels, zero_division=0)
    often = labels[support >= 50]
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(truth), (1000, len(truth)))

    def macro(rows: np.ndarray | slice, classes: np.ndarray) -> float:
        return float(f1_score(truth[rows], guess[rows], labels=classes, average="macro", zero_division=0))

    def interval(values: list[float]) -> list[float]:
        return [round(float(v), 4) for v in np.percentile(values, [2.5, 97.5])]

    everything = slice(None)
    return {
        "images": len(truth), "size": size or net.config.size, "mirrored": flip,
        "accuracy": float((truth == guess).mean()),
        "accuracy_interval": interval([(truth[d] == guess[d]).mean() for d in draws]),
        "macro_f1": macro(everything, labels),
        "macro_f1_interval": interval([macro(d, labels) for d in draws[:200]]),
        "macro_f1_of_50": macro(everything, often),
        "macro_f1_of_50_interval": interval([macro(d, often) for d in draws[:200]]),
        "per_class": {name: {"precision": float(precision[k]), "recall": float(recall[k]), "f1": float(f1[k]),
                             "support": int(support[k])} for k, name in enumerate(EMOTIONS)},
        "confusion": confusion_matrix(truth, guess, labels=labels).tolist(),
    }


def _confusion_picture(matrix: np.ndarray) -> bytes:
    from matplotlib.figure import Figure
    from sklearn.metrics import ConfusionMatrixDisplay

    figure = Figure(figsize=(7, 6), layout="constrained")
    ConfusionMatrixDisplay(matrix, display_labels=EMOTIONS).plot(ax=figure.subplots(), xticks_rotation=45)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
