"""Train one seed: the loop from the first batch to the best epoch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import log_softmax

from css_model import Checkpoint, EmotionModel, freeze_trunk, save_checkpoint, transfer
from pipeline.core.dialogue import Dialogue
from pipeline.core.errors import MercError
from pipeline.core.files import write_text
from pipeline.training.calibration import fit_temperatures
from pipeline.training.config import Configuration
from pipeline.training.distributed import barrier, ranks
from pipeline.training.inputs import Inputs, class_weights, fit_inputs, log_prior
from pipeline.training.metrics import scores
from pipeline.training.predictor import compute_logits
from pipeline.training.protocols import Parts
from pipeline.training.start import Start
from pipeline.training.state import CheckpointFile, TrainingState, new_state
from pipeline.training.step import TrainingStep, choose_device, share_of_rank, shuffled_batches

__all__ = ["Report", "fit", "no_report"]

Report = Callable[[dict[str, Any]], None]


def no_report(row: dict[str, Any]) -> None:
    """Ignore the report of an epoch."""


def fit(
    parts: Parts,
    config: Configuration,
    seed: int,
    folder: Path,
    report: Report = no_report,
    start: Start | None = None,
) -> None:
    """Train one seed and write model.safetensors (best epoch) and history.json into `folder`.

    The best epoch has the highest weighted F1 on `parts.select`, or the smallest loss
    (`train.select`), the first one among equals. After `train.patience` epochs without a better
    one, training stops. A call that was killed resumes from `folder/checkpoint.pt` and ends with
    the same files; if model.safetensors exists, the call does nothing. Under torchrun every rank
    makes the call, works on its share of every batch, and rank 0 writes.

    Args:
        report: is called with a dict of losses, weights and scores after every epoch.
        start: the model to start from. It counts as epoch 0, so if no epoch is better on
            `parts.select`, its weights are kept.

    Raises:
        MercError: the loss became NaN or infinite; names seed, epoch and dialogues.
    """
    if (folder / "model.safetensors").exists():
        return
    rank, world = ranks()
    device = choose_device(config.train.device)
    inputs = fit_inputs(parts, config.data, seed, start)
    model = _started(start, parts, inputs, config, seed) if start else None
    state = new_state(inputs.model_widths, parts.corpus.labels, config, seed, device, model)
    checkpoint = CheckpointFile(folder / "checkpoint.pt")
    before = state.weights() if parts.few else {}
    checkpoint.restore(state, device)
    step = TrainingStep(state, inputs, config, device, _class_weights(start, parts, inputs, config))
    select = inputs.prepare(parts.select)
    if start and not state.history:
        score = _score(state.evaluated, select, parts.corpus.labels)
        state.keep_if_best(0, _criterion(score, config))

    epochs = config.train.few_epochs if parts.few else config.train.epochs
    patience = 0 if parts.few else config.train.patience
    for epoch in range(len(state.history), epochs):
        if 0 < patience <= epoch - state.best["epoch"]:
            break
        # seeded by the epoch: a resumed training equals one that was never interrupted
        rng = np.random.default_rng([seed, epoch])
        torch.manual_seed(int(np.random.SeedSequence([seed, epoch, rank]).generate_state(1)[0]))
        labelled = [d for d in parts.train(epoch, seed) if (d.labels >= 0).any()]
        batches = shuffled_batches(inputs.prepare(labelled), config.train.batch, rng)

        sums = np.zeros(6)  # L1, L2, L3, γ1, γ2, γ3
        state.model.train()
        for batch in batches:
            try:
                sums += step(share_of_rank(batch, rank, world))
            except FloatingPointError as error:
                raise _diverged(seed, epoch, batch, config.train.lr, error) from error

        score = _score(state.evaluated, select, parts.corpus.labels)
        row = _row(epoch, sums / max(len(batches), 1), score)
        state.record(row, _criterion(score, config))
        report({"seed": seed, "epochs": epochs, **row})
        if rank == 0:
            checkpoint.save_if_due(state)

    if parts.few:
        state.best = {"epoch": epochs, "state": _halfway(before, state.weights())}
    if rank == 0:
        _save(state, parts, inputs, config, seed, select, folder, start)
        checkpoint.delete()
    barrier()


def _row(epoch: int, means: np.ndarray, score: dict[str, Any]) -> dict[str, Any]:
    """Return the row of one epoch in history.csv."""
    names = [*(f"loss{k}" for k in (1, 2, 3)), *(f"gamma{k}" for k in (1, 2, 3))]
    return {
        "epoch": epoch + 1,
        **{name: float(mean) for name, mean in zip(names, means, strict=True)},
        "select_accuracy": score["accuracy"],
        "select_weighted_f1": score["weighted_f1"],
        "select_loss": score["loss"],
    }


def _started(
    start: Start, parts: Parts, inputs: Inputs, config: Configuration, seed: int
) -> EmotionModel:
    prior = _prior(start, parts, inputs, config)
    labels = parts.corpus.labels
    mixture = start.mixture(labels, parts.train(0, seed))
    model = transfer(start.checkpoint, labels, prior, mixture)
    if start.head_only(config, inputs.counts):
        freeze_trunk(model)
    return model


def _class_weights(
    start: Start | None, parts: Parts, inputs: Inputs, config: Configuration
) -> torch.Tensor | None:
    if start is None or not parts.few or config.train.class_weights != "none":
        return class_weights(inputs.counts, config.train.class_weights)
    return torch.from_numpy(start.class_weights(parts.corpus.labels, inputs.counts)).float()


def _halfway(
    before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Return the means of weights: of the start and of a training on few labels.

    Wortsman et al. 2022, Robust Fine-Tuning of Zero-Shot Models, CVPR: with α = .5 the fine-tuned
    model keeps what the few labels do not show.
    """
    return {
        name: (tensor + after[name]) / 2 if tensor.is_floating_point() else after[name]
        for name, tensor in before.items()
    }


def _prior(start: Start | None, parts: Parts, inputs: Inputs, config: Configuration) -> np.ndarray:
    counts = inputs.counts
    if start is not None:
        counts = start.counts(parts.corpus.labels, counts, parts.few)
    return log_prior(counts, config.train.class_weights)


def _criterion(score: dict[str, Any], config: Configuration) -> float:
    """Return what the best epoch has the most of."""
    return -score["loss"] if config.train.select == "loss" else score["weighted_f1"]


def _score(
    model: EmotionModel, dialogues: list[Dialogue], labels: tuple[str, ...]
) -> dict[str, Any]:
    """Return the scores on the labelled utterances, and "loss", the mean log loss."""
    truth = np.concatenate([d.labels for d in dialogues])
    logits = np.concatenate(compute_logits(model, dialogues))[truth >= 0]
    truth = truth[truth >= 0]
    loss = -float(log_softmax(logits, axis=1)[np.arange(len(truth)), truth].mean())
    return scores(truth, logits.argmax(1), labels) | {"loss": loss}


def _save(
    state: TrainingState,
    parts: Parts,
    inputs: Inputs,
    config: Configuration,
    seed: int,
    select: list[Dialogue],
    folder: Path,
    start: Start | None,
) -> None:
    """Calibrate the best epoch's model and write it with its history."""
    model, best, corpus = state.model, state.best, parts.corpus
    model.load_state_dict(best["state"])
    prior = _prior(start, parts, inputs, config)
    temperatures = {}
    if parts.protocol == "clean" and not parts.few:  # never fit to what was tested or trained on
        temperatures = fit_temperatures(model, select, prior)
    fingerprints = None
    extra = {"dataset": corpus.name, "protocol": parts.protocol, "seed": seed}
    if start is not None:
        # sets of modalities that the valid part lacks, or has too few utterances of
        temperatures = start.checkpoint.temperatures | temperatures
        fingerprints = start.fingerprints(corpus)
        extra["start"] = start.name
    elif corpus.fingerprints is not None:
        fingerprints = {modality: corpus.fingerprints[modality] for modality in inputs.widths}
    history = {"best_epoch": best["epoch"], "epochs": state.history}
    write_text(folder / "history.json", json.dumps(history))
    # model.safetensors is written last: it marks a finished seed
    save_checkpoint(
        folder / "model.safetensors",
        Checkpoint(
            config=model.config,
            state=best["state"],
            normaliser=inputs.normaliser,
            fingerprints=fingerprints,
            log_prior=prior,
            temperatures=temperatures,
            extra=extra,
        ),
    )


def _diverged(
    seed: int, epoch: int, batch: list[Dialogue], lr: float, error: FloatingPointError
) -> MercError:
    names = ", ".join(d.id for d in batch[:3]) + (" …" if len(batch) > 3 else "")
    return MercError(
        f"seed {seed}, epoch {epoch + 1}: the loss became NaN or infinite ({error}; dialogues "
        f"{names})",
        f"lower train.lr ({lr:g}), or set train.clip=1 or train.bf16=no",
    )
