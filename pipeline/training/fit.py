"""Train one seed: the loop from first batch to best epoch, resumable, the same result however often it was killed."""

from __future__ import annotations

import io
import json
import math
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import logsumexp
from torch import distributed

from css_model import (
    CSS,
    Checkpoint,
    CSSConfig,
    Normaliser,
    collate,
    inverse_frequency,
    losses,
    save_checkpoint,
)
from css_model.allocator import keep_freed_memory
from css_model.directions import make_modulator
from css_model.pareto import mean_over_ranks
from pipeline.core.dialogue import Dialogue
from pipeline.core.files import write_bytes, write_text
from pipeline.training.calibration import fit_temperatures
from pipeline.training.column_selection import select_columns
from pipeline.training.config import Configuration
from pipeline.training.metrics import scores
from pipeline.training.predictor import logits_of, prepare
from pipeline.training.protocols import Parts, count_labels, restrict

__all__ = ["fit", "ranks"]

Report = Callable[[dict[str, Any]], None]
CHECKPOINT_SHARE = 0.1  # of the time, at most, goes into writing checkpoints


def fit(
    parts: Parts, config: Configuration, seed: int, folder: Path, report: Report = lambda row: None
) -> None:
    """Train one seed into `folder`: model.safetensors (best epoch), history.json; a checkpoint until then.

    The epoch kept has the best weighted F1 on `parts.select`, the first of equals.  Does nothing when model.safetensors
    is there.  Under torchrun every rank calls this; each takes its share of every batch, rank 0 writes.
    Raises ValueError naming epoch and losses when these are not finite.
    """
    final, checkpoint = folder / "model.safetensors", folder / "checkpoint.pt"
    if final.exists():
        return
    chosen, corpus, rank, world = config.train, parts.corpus, *ranks()
    device = _device(chosen.device)
    widths = {m: corpus.widths[m] for m in restrict(corpus, config.data.modalities)}
    first = parts.train(0, seed)
    columns = (
        {"audio": select_columns(first, "audio", config.data.select_audio)}
        if config.data.select_audio and "audio" in widths
        else None
    )
    normaliser = Normaliser(
        {m: getattr(config.data, f"normalise_{m}") for m in widths}, columns=columns
    ).fit(
        replace(d, features={m: rows for m, rows in d.features.items() if m in widths})
        for d in first
    )
    inner = tuple(normaliser.widths(widths).items())
    counts = count_labels([d for d in first if d.odds is None], len(corpus.labels))
    power = {"none": 0.0, "mild": 0.25, "inverse": 1.0}[chosen.class_weights]
    balance = (
        inverse_frequency(
            torch.from_numpy(np.repeat(np.arange(len(counts)), counts)), len(counts), power
        )
        if power
        else None
    )

    if device.type == "cpu":
        keep_freed_memory()
    torch.manual_seed(seed)
    model = CSS(CSSConfig(widths=inner, labels=corpus.labels, **vars(config.model))).to(device)
    optimizer = torch.optim.Adam(
        model.parameters(), chosen.lr, weight_decay=chosen.weight_decay, fused=True
    )
    try:
        modulator = make_modulator(
            chosen.objective,
            model,
            chosen.theta,
            chosen.gamma,
            heads=chosen.heads,
            objectives=[k for k in range(3) if chosen.weights[k]],
            weights=chosen.weights,
        )
    except ImportError as error:
        raise ValueError(f"train.objective={chosen.objective}: {error}") from error
    averaging = torch.optim.swa_utils.get_ema_multi_avg_fn(chosen.average)
    average = (
        torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=averaging)
        if chosen.average
        else None
    )
    low = _autocast(chosen.bf16, config.model.d, device)
    history: list[dict[str, Any]] = []
    best: dict[str, Any] = {"score": -1.0, "epoch": 0, "state": {}}
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        if average is not None:
            average.load_state_dict(saved["average"])
        history, best = json.loads(saved["history"]), saved["best"]
    select = [prepare(d, widths, normaliser) for d in parts.select]
    written, cost = -math.inf, 0.0  # when the last checkpoint was, what it took; seconds

    for epoch in range(len(history), chosen.epochs):
        # seeding every epoch anew makes a resumed run equal to one never killed
        chance = np.random.default_rng([seed, epoch])
        torch.manual_seed(int(np.random.SeedSequence([seed, epoch, rank]).generate_state(1)[0]))
        dialogues = [
            prepare(d, widths, normaliser)
            for d in parts.train(epoch, seed)
            if (d.labels >= 0).any()
        ]
        sums, steps = np.zeros(6), 0
        model.train()
        for chunk in _batches(dialogues, chosen.batch, chance):
            chunk = [_drop(d, chosen.drop_modality, chance) for d in chunk]
            share = chunk[rank::world] or [_unlabelled(chunk[0])]
            batch = collate(share, inner).to(device)
            with low():
                output = model(batch)
            if any(d.odds is not None for d in share):
                output = output.shifted(_odds(share, output.logits))
            terms = losses(
                output, batch, chosen.temperature, chosen.detach_teacher, chosen.literal, balance
            )
            values = mean_over_ranks(terms)
            try:
                if not np.isfinite(values).all():
                    raise FloatingPointError(f"losses {values}")
                gamma = modulator.backward(terms, output)
            except FloatingPointError as error:
                raise ValueError(
                    f"seed {seed}, epoch {epoch + 1}: training left the finite numbers ({error}); lower train.lr "
                    f"({chosen.lr:g}), or set train.clip=1 or train.bf16=no (dialogues {_names(chunk)})"
                ) from error
            if chosen.clip:
                torch.nn.utils.clip_grad_norm_(model.parameters(), chosen.clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if average is not None:
                average.update_parameters(model)
            sums += [*values, *(float(g) for g in gamma)]
            steps += 1
        judged = model if average is None else average.module
        assert isinstance(judged, CSS)
        value = _scores(judged, select, corpus.labels)
        means = sums / max(steps, 1)
        history.append(
            {
                "epoch": epoch + 1,
                **{f"loss{k + 1}": float(means[k]) for k in range(3)},
                **{f"gamma{k + 1}": float(means[k + 3]) for k in range(3)},
                "select_accuracy": value["accuracy"],
                "select_weighted_f1": value["weighted_f1"],
            }
        )
        if value["weighted_f1"] > best["score"]:
            best = {
                "score": value["weighted_f1"],
                "epoch": epoch + 1,
                "state": {k: v.detach().cpu().clone() for k, v in judged.state_dict().items()},
            }
        report({"seed": seed, "epochs": chosen.epochs, **history[-1]})
        began = time.monotonic()
        if rank == 0 and cost <= CHECKPOINT_SHARE * (began - written):
            buffer = io.BytesIO()
            torch.save(
                {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "best": best,
                    "history": json.dumps(history),
                    "average": {} if average is None else average.state_dict(),
                },
                buffer,
            )
            write_bytes(checkpoint, buffer.getvalue())
            written = time.monotonic()
            cost = written - began

    if rank == 0:
        model.load_state_dict(best["state"])
        prior = (1 - power) * np.log(counts + 1)  # what the weighted loss makes the model believe
        prior -= logsumexp(prior)
        # fitting temperatures on the test part would leak once more: protocol `published` goes without
        heat = fit_temperatures(model, select, prior) if parts.protocol == "clean" else {}
        prints = (
            None if corpus.fingerprints is None else {m: corpus.fingerprints[m] for m in widths}
        )
        write_text(
            folder / "history.json", json.dumps({"best_epoch": best["epoch"], "epochs": history})
        )
        save_checkpoint(
            final,
            Checkpoint(
                config=model.config,
                state=best["state"],
                normaliser=normaliser,
                fingerprints=prints,
                log_prior=prior,
                temperatures=heat,
                extra={"dataset": corpus.name, "protocol": parts.protocol, "seed": seed},
            ),
        )
        checkpoint.unlink(missing_ok=True)
    if world > 1:
        distributed.barrier()


def ranks() -> tuple[int, int]:
    """(rank, world): (0, 1) but under torchrun, where the gloo group is joined on the first call."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return 0, 1
    if not distributed.is_initialized():
        distributed.init_process_group("gloo")
    return distributed.get_rank(), distributed.get_world_size()


def _odds(dialogues: list[Dialogue], like: torch.Tensor) -> torch.Tensor:
    """(N, c): each utterance the odds of its dialogue."""
    rows = [
        np.broadcast_to(0.0 if d.odds is None else d.odds, (len(d.labels), like.shape[1]))
        for d in dialogues
    ]
    return torch.from_numpy(np.concatenate(rows)).to(like)


def _unlabelled(dialogue: Dialogue) -> Dialogue:
    """Stands in where a rank has no dialogue of a batch: it weighs nothing."""
    return replace(dialogue, labels=np.full_like(dialogue.labels, -1))


def _batches(
    dialogues: list[Dialogue], size: int, chance: np.random.Generator
) -> list[list[Dialogue]]:
    order = chance.permutation(len(dialogues))
    return [
        [dialogues[k] for k in order[start : start + size]] for start in range(0, len(order), size)
    ]


def _drop(dialogue: Dialogue, share: float, chance: np.random.Generator) -> Dialogue:
    """Take each modality from the whole dialogue with chance `share`, but never the last one."""
    if not share:
        return dialogue
    there = [m for m, rows in dialogue.features.items() if not np.isnan(rows).all()]
    lost = [m for m in there if chance.random() < share]
    if len(lost) == len(there):
        lost.remove(lost[int(chance.integers(len(lost)))]) if lost else None
    return replace(
        dialogue,
        features={
            m: np.full_like(rows, np.nan) if m in lost else rows
            for m, rows in dialogue.features.items()
        },
    )


def _scores(model: CSS, dialogues: list[Dialogue], labels: tuple[str, ...]) -> dict[str, Any]:
    truth = np.concatenate([d.labels for d in dialogues])
    guess = np.concatenate([rows.argmax(1) for rows in logits_of(model, dialogues)])
    return scores(truth[truth >= 0], guess[truth >= 0], labels)


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("train.device=cuda: torch sees no CUDA device here; leave it at auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def _autocast(choice: str, d: int, device: torch.device) -> Callable[[], Any]:
    """bf16 where processor and torch have it and matrices are large enough to gain by it."""
    native = (
        torch.cuda.is_bf16_supported()
        if device.type == "cuda"
        else (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    )
    if choice == "no" or (choice == "auto" and not (native and d >= 512)):
        return nullcontext
    return lambda: torch.autocast(device.type, torch.bfloat16)


def _names(dialogues: list[Dialogue]) -> str:
    return ", ".join(d.id for d in dialogues[:3]) + (" …" if len(dialogues) > 3 else "")
