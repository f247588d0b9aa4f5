"""Batches of tokens for torch: padded, and their states reduced to one vector per text."""

from __future__ import annotations

import torch
from torch.nn.utils.rnn import pad_sequence

__all__ = ["pad", "pool"]


def pad(rows: list[list[int]], padding: int) -> dict[str, torch.Tensor]:
    """Return token ids as padded tensors input_ids and attention_mask, (n, tokens).

    padding: the token after a shorter text.

    >>> pad([[5, 6], [7]], padding=0)["attention_mask"].tolist()
    [[1, 1], [1, 0]]
    """
    ids = [torch.tensor(row) for row in rows]
    return {
        "input_ids": pad_sequence(ids, True, padding),
        "attention_mask": pad_sequence([torch.ones_like(row) for row in ids], True),
    }


def pool(states: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """Reduce states (n, tokens, d) to (n, d).

    mask: (n, tokens), 0 for padding. pooling: "first" takes the first token, "mean" averages.
    """
    if pooling == "first":
        return states[:, 0]
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1)
