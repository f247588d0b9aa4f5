"""One optimiser step: a batch of dialogues in, modulated gradients, an update of the weights."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from css_model import CSS, EmotionModel, Output, WeightedSum, losses, make_modulator
from css_model.balance import Modulator
from css_model.baselines import Baseline
from css_model.batch import Batch
from css_model.objectives import Losses
from css_model.pareto import mean_over_ranks
from pipeline.core.dialogue import Dialogue
from pipeline.core.errors import MercError
from pipeline.training.config import Configuration, CSSTrainConfig
from pipeline.training.inputs import Inputs
from pipeline.training.state import TrainingState

__all__ = ["TrainingStep", "choose_device", "share_of_rank", "shuffled_batches"]


class TrainingStep:
    """Call it with the prepared dialogues of a batch: it updates the weights of `state`.

    class_weights: (c,) weights of the losses, or None.

    A call returns (6,) float64: L1, L2, L3 and their weights γ1, γ2, γ3 (eqs. 11-16). Another model
    than CSS has its own three losses and fixed weights. It raises FloatingPointError if a loss or
    gradient is NaN or infinite.
    """

    def __init__(
        self,
        state: TrainingState,
        inputs: Inputs,
        config: Configuration,
        device: torch.device,
        class_weights: torch.Tensor | None,
    ) -> None:
        self.state = state
        self.widths = inputs.model_widths
        self.options = config.train
        self.device = device
        self.class_weights = class_weights
        self.modulator = _modulator(state.model, config.train)
        self.autocast = _autocast(config.train.bf16, state.model, device)

    def __call__(self, dialogues: list[Dialogue]) -> np.ndarray:
        options, model = self.options, self.state.model
        batch = model.collate(dialogues, self.widths).to(self.device)
        with self.autocast():
            output = model(batch)
        if any(d.odds is not None for d in dialogues):
            output = output.shifted(_class_odds(dialogues, output.logits))
        terms = self._losses(output, batch)
        values = mean_over_ranks(terms)
        if not np.isfinite(values).all():
            raise FloatingPointError(f"losses {values}")
        gamma = self.modulator.backward(terms, output)
        if options.clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), options.clip)
        self.state.optimizer.step()
        self.state.optimizer.zero_grad(set_to_none=True)
        if self.state.average is not None:
            self.state.average.update_parameters(model)
        return np.array([*values, *(float(weight) for weight in gamma)], np.float64)

    def _losses(self, output: Output, batch: Batch) -> Losses:
        model, options = self.state.model, self.options
        if isinstance(model, Baseline):
            return model.losses(output, batch, self.class_weights)
        return losses(
            output,
            batch,
            options.temperature,
            options.detach_teacher,
            options.literal,
            self.class_weights,
        )


def shuffled_batches(
    dialogues: list[Dialogue], size: int, rng: np.random.Generator
) -> list[list[Dialogue]]:
    """Shuffle dialogues into batches of `size`; the last one may be smaller."""
    order = rng.permutation(len(dialogues))
    starts = range(0, len(order), size)
    return [[dialogues[k] for k in order[start : start + size]] for start in starts]


def share_of_rank(batch: list[Dialogue], rank: int, world: int) -> list[Dialogue]:
    """Return the dialogues of a batch that this rank works on.

    A rank without any gets one dialogue without labels, which adds nothing to the losses.
    """
    if share := batch[rank::world]:
        return share
    return [replace(batch[0], labels=np.full_like(batch[0].labels, -1))]


def choose_device(name: str) -> torch.device:
    """Return the device for `train.device`: auto, cpu or cuda. Raises MercError without CUDA."""
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise MercError("train.device=cuda: torch finds no CUDA device", "leave it at auto")
    return torch.device("cuda" if name != "cpu" and available else "cpu")


def _modulator(model: EmotionModel, options: CSSTrainConfig) -> Modulator:
    if isinstance(model, Baseline):
        return model.modulator()
    assert isinstance(model, CSS)
    if not any(parameter.requires_grad for parameter in model.encoder.parameters()):
        # PGM compares gradients on the encoder; the output layers share no weights
        return WeightedSum(model, options.weights)
    try:
        return make_modulator(
            options.objective,
            model,
            options.theta,
            options.gamma,
            heads=options.heads,
            objectives=[k for k in range(3) if options.weights[k]],
            weights=options.weights,
        )
    except ImportError as error:
        raise MercError(
            f"train.objective={options.objective}: {error}", "install it, or choose pgm"
        ) from error


def _class_odds(dialogues: list[Dialogue], like: torch.Tensor) -> torch.Tensor:
    """Return (utterances, classes): for every utterance the odds of its dialogue."""
    classes = like.shape[1]
    rows = []
    for dialogue in dialogues:
        odds = 0.0 if dialogue.odds is None else dialogue.odds
        rows.append(np.broadcast_to(odds, (len(dialogue.labels), classes)))
    return torch.from_numpy(np.concatenate(rows)).to(like)


def _autocast(choice: str, model: EmotionModel, device: torch.device) -> Callable[[], Any]:
    """Return the context for a forward pass.

    auto: bf16 if the processor has it, the matrices are large enough to gain from it, and the model
    was tested with it.
    """
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported()
    else:
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    tested = not isinstance(model, Baseline) or model.autocast
    gains = native and tested and getattr(model.config, "d", 0) >= 512
    if choice == "no" or (choice == "auto" and not gains):
        return nullcontext
    return lambda: torch.autocast(device.type, torch.bfloat16)
