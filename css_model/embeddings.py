"""What is added to projected features: where an utterance stands, and who speaks."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from css_model.batch import Batch

__all__ = ["SpeakerTable", "positions"]


def positions(lengths: list[int], d: int, device: torch.device | str = "cpu") -> Tensor:
    """Return sinusoidal positions (Vaswani et al. 2017) within each dialogue: (N, d) float32.

    There is no maximum length.

    >>> positions([2, 1], 4).shape
    torch.Size([3, 4])
    """
    steps = torch.cat([torch.arange(length, device=device) for length in lengths]).to(torch.float32)
    rates = torch.exp(torch.arange(0, d, 2, device=device) * (-math.log(10_000.0) / d))
    angles = steps[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)[:, :d]


class SpeakerTable(nn.Embedding):
    """An embedding of each speaker of a dialogue. Speakers beyond its rows reuse the first ones."""

    def of(self, batch: Batch) -> Tensor:
        """Return the embedding of the speaker of every utterance, (N, d)."""
        return self(batch.speakers % self.num_embeddings)

    def with_positions(self, batch: Batch) -> Tensor:
        """Return the sum of position and speaker embedding, (N, d)."""
        rows = positions(batch.lengths, self.embedding_dim, batch.speakers.device)
        return rows.to(self.weight.dtype) + self.of(batch)
