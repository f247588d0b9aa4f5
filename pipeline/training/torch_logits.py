"""Logits of dialogues from a model in torch, many dialogues at a time."""

from __future__ import annotations

import numpy as np
import torch

from css_model import EmotionModel
from pipeline.core.dialogue import Dialogue

__all__ = ["torch_logits"]

MAX_UTTERANCES = 2048  # per forward pass; limits memory, does not change results


@torch.inference_mode()
def torch_logits(model: EmotionModel, dialogues: list[Dialogue]) -> list[np.ndarray]:
    """Return the (n, classes) float64 logits of each prepared dialogue.

    The model is in eval mode afterwards.
    """
    model.eval()
    device = next(model.parameters()).device
    result: list[np.ndarray] = [np.zeros((0, len(model.config.labels)))] * len(dialogues)
    # batches of dialogues of similar length, the longest first
    lengths = [len(dialogue.utterances) for dialogue in dialogues]
    remaining = sorted((k for k, length in enumerate(lengths) if length), key=lengths.__getitem__)
    while remaining:
        batch = [remaining.pop()]
        size = lengths[batch[0]]
        while remaining and size + lengths[remaining[-1]] <= MAX_UTTERANCES:
            batch.append(remaining.pop())
            size += lengths[batch[-1]]
        logits = model(model.collate(dialogues[k] for k in batch).to(device)).logits
        ends = np.cumsum([lengths[k] for k in batch])[:-1]
        for k, rows in zip(batch, np.split(logits.double().cpu().numpy(), ends), strict=True):
            result[k] = rows
    return result
