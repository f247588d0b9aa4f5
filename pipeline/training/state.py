"""What changes while a seed is trained, and the checkpoint that a killed training resumes from."""

from __future__ import annotations

import io
import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from css_model import EmotionModel, make_model
from css_model.allocator import keep_freed_memory
from pipeline.core.files import write_bytes
from pipeline.training.config import Configuration

__all__ = ["CheckpointFile", "TrainingState", "new_state"]

CHECKPOINT_SHARE = 0.1  # of the training time, at most, is spent on writing checkpoints


@dataclass
class TrainingState:
    """Model, optimiser, and the epochs so far.

    average: moving average of the weights, if `train.average` asks for one.
    history: one dict per epoch.
    best: the epoch with the highest score, the first one among equals, and its weights.
    """

    model: EmotionModel
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] = field(
        default_factory=lambda: {"score": -math.inf, "epoch": 0, "state": {}}
    )

    @property
    def evaluated(self) -> EmotionModel:
        """The model that is scored and saved: the average of the weights if there is one."""
        model = self.model if self.average is None else self.average.module
        assert isinstance(model, EmotionModel)
        return model

    def record(self, row: dict[str, Any], score: float) -> None:
        """Add an epoch; keep its weights if its score is the best so far."""
        self.history.append(row)
        self.keep_if_best(row["epoch"], score)

    def keep_if_best(self, epoch: int, score: float) -> None:
        """Keep the weights if their score is the best so far; epoch 0: before training."""
        if score > self.best["score"]:
            self.best = {"score": score, "epoch": epoch, "state": self.weights()}

    def weights(self) -> dict[str, torch.Tensor]:
        """Return a copy of the evaluated model's weights, on the CPU."""
        weights = self.evaluated.state_dict()
        return {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}


def new_state(
    widths: tuple[tuple[str, int], ...],
    labels: tuple[str, ...],
    config: Configuration,
    seed: int,
    device: torch.device,
    model: EmotionModel | None = None,
) -> TrainingState:
    """Initialise model and optimiser from the seed.

    model: start from this one. Parameters that require no gradient are not trained.
    """
    if device.type == "cpu":
        keep_freed_memory()
    torch.manual_seed(seed)
    model = (model or make_model(config.model_config(widths, labels))).to(device)
    options = config.train
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    head_only = len(trained) < len(list(model.parameters()))
    rate = options.head_lr if head_only else options.lr
    optimizer = torch.optim.Adam(trained, rate, weight_decay=options.weight_decay, fused=True)
    average = None
    if options.average:
        average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(options.average))
    return TrainingState(model, optimizer, average)


class CheckpointFile:
    """The checkpoint of one seed. It is skipped where writing would take too much of the time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written = -math.inf  # when the last checkpoint was finished
        self._cost = 0.0  # seconds that it took

    def restore(self, state: TrainingState, device: torch.device) -> None:
        """Load the checkpoint into `state`; without a checkpoint, leave it as it is."""
        if not self.path.exists():
            return
        saved = torch.load(self.path, map_location=device, weights_only=True)
        state.model.load_state_dict(saved["model"])
        state.optimizer.load_state_dict(saved["optimizer"])
        if state.average is not None:
            state.average.load_state_dict(saved["average"])
        state.history, state.best = json.loads(saved["history"]), saved["best"]

    def save_if_due(self, state: TrainingState) -> None:
        """Write the checkpoint, unless the last one took more than a tenth of the time since."""
        began = time.monotonic()
        if self._cost > CHECKPOINT_SHARE * (began - self._written):
            return
        buffer = io.BytesIO()
        content = {
            "model": state.model.state_dict(),
            "optimizer": state.optimizer.state_dict(),
            "best": state.best,
            "history": json.dumps(state.history),
            "average": {} if state.average is None else state.average.state_dict(),
        }
        torch.save(content, buffer)
        write_bytes(self.path, buffer.getvalue())
        self._written = time.monotonic()
        self._cost = self._written - began

    def delete(self) -> None:
        """Delete the checkpoint."""
        self.path.unlink(missing_ok=True)
