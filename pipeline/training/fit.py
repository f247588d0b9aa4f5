"""Train one seed: the loop from the first batch to the best epoch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from css_model import Checkpoint, EmotionModel, save_checkpoint
from pipeline.core.dialogue import Dialogue
from pipeline.core.errors import MercError
from pipeline.core.files import write_text
from pipeline.training.calibration import fit_temperatures
from pipeline.training.config import Configuration
from pipeline.training.distributed import barrier, ranks
from pipeline.training.inputs import Inputs, fit_inputs, log_prior
from pipeline.training.metrics import scores
from pipeline.training.predictor import compute_logits
from pipeline.training.protocols import Parts
from pipeline.training.state import CheckpointFile, TrainingState, new_state
from pipeline.training.step import TrainingStep, choose_device, share_of_rank, shuffled_batches

__all__ = ["Report", "fit", "no_report"]

Report = Callable[[dict[str, Any]], None]


def no_report(row: dict[str, Any]) -> None:
    """Ignore the report of an epoch."""


def fit(
    parts: Parts, config: Configuration, seed: int, folder: Path, report: Report = no_report
) -> None:
    """Train one seed and write model.safetensors (best epoch) and history.json into `folder`.

    The best epoch has the highest weighted F1 on `parts.select`, the first one among equals. A
    call that was killed resumes from `folder/checkpoint.pt` and ends with the same files; if
    model.safetensors exists, the call does nothing. Under torchrun every rank makes the call,
    works on its share of every batch, and rank 0 writes.

    Args:
        report: is called with a dict of losses, weights and scores after every epoch.

    Raises:
        MercError: the loss became NaN or infinite; names seed, epoch and dialogues.
    """
    if (folder / "model.safetensors").exists():
        return
    rank, world = ranks()
    device = choose_device(config.train.device)
    inputs = fit_inputs(parts, config.data, seed)
    state = new_state(inputs.model_widths, parts.corpus.labels, config, seed, device)
    checkpoint = CheckpointFile(folder / "checkpoint.pt")
    checkpoint.restore(state, device)
    step = TrainingStep(state, inputs, config, device)
    select = inputs.prepare(parts.select)

    for epoch in range(len(state.history), config.train.epochs):
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
        state.record(row, score["weighted_f1"])
        report({"seed": seed, "epochs": config.train.epochs, **row})
        if rank == 0:
            checkpoint.save_if_due(state)

    if rank == 0:
        _save(state, parts, inputs, config, seed, select, folder)
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
    }


def _score(
    model: EmotionModel, dialogues: list[Dialogue], labels: tuple[str, ...]
) -> dict[str, Any]:
    truth = np.concatenate([d.labels for d in dialogues])
    guess = np.concatenate([logits.argmax(1) for logits in compute_logits(model, dialogues)])
    return scores(truth[truth >= 0], guess[truth >= 0], labels)


def _save(
    state: TrainingState,
    parts: Parts,
    inputs: Inputs,
    config: Configuration,
    seed: int,
    select: list[Dialogue],
    folder: Path,
) -> None:
    """Calibrate the best epoch's model and write it with its history."""
    model, best, corpus = state.model, state.best, parts.corpus
    model.load_state_dict(best["state"])
    prior = log_prior(inputs.counts, config.train.class_weights)
    temperatures = {}
    if parts.protocol == "clean":  # protocol published selects on the test part: never fit to it
        temperatures = fit_temperatures(model, select, prior)
    fingerprints = None
    if corpus.fingerprints is not None:
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
            extra={"dataset": corpus.name, "protocol": parts.protocol, "seed": seed},
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
