"""Dialogues as padded sequences, for models that are recurrent or read a graph per dialogue."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

__all__ = ["concatenate", "pad", "positions_in_time", "run_rnn", "same_speaker_order"]


def pad(rows: Tensor, lengths: list[int]) -> tuple[Tensor, Tensor]:
    """Return (B, T, …), zero behind the end of a dialogue, and the mask (B, T) of what is not.

    rows: (N, …). `padded[mask]` gives the packed rows back. Dialogues without utterances have a row
    of the mask that is all False.

    >>> padded, mask = pad(torch.arange(3.0), [2, 1])
    >>> padded.tolist(), padded[mask].tolist()
    ([[0.0, 1.0], [2.0, 0.0]], [0.0, 1.0, 2.0])
    """
    sizes = torch.tensor(lengths, device=rows.device)
    mask = torch.arange(max(lengths, default=0), device=rows.device) < sizes[:, None]
    padded = rows.new_zeros(*mask.shape, *rows.shape[1:])
    padded[mask] = rows
    return padded, mask


def run_rnn(rnn: nn.RNNBase, rows: Tensor, lengths: list[int]) -> Tensor:
    """Run a recurrent network (batch_first) over each dialogue; return its outputs, (N, …).

    rows: (N, d).
    """
    sizes = [length for length in lengths if length]
    if not sizes:
        return rows.new_zeros(0, rnn.hidden_size * (2 if rnn.bidirectional else 1))
    padded, mask = pad(rows, sizes)
    packed = pack_padded_sequence(padded, torch.tensor(sizes), True, enforce_sorted=False)
    return pad_packed_sequence(rnn(packed)[0], batch_first=True)[0][mask]


def concatenate(features: dict[str, Tensor]) -> Tensor:
    """Return (N, Σ widths). A missing feature is zero: it adds nothing to the linear map behind."""
    return torch.cat(list(features.values()), -1)


def positions_in_time(lengths: list[int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return (N,) int64 each: the number of the dialogue, and of the utterance within it."""
    sizes = torch.tensor(lengths, device=device)
    dialogue = torch.repeat_interleave(torch.arange(len(lengths), device=device), sizes)
    starts = sizes.cumsum(0) - sizes
    return dialogue, torch.arange(len(dialogue), device=device) - starts[dialogue]


def same_speaker_order(speakers: Tensor, lengths: list[int]) -> tuple[Tensor, list[int]]:
    """Return the order (N,) that sorts utterances by dialogue, speaker and time, and run lengths.

    Each run is what one speaker of one dialogue says.

    >>> same_speaker_order(torch.tensor([0, 1, 0, 0]), [3, 1])
    (tensor([0, 2, 1, 3]), [2, 1, 1])
    """
    dialogue, _ = positions_in_time(lengths, speakers.device)
    key = dialogue * (int(speakers.max()) + 1 if len(speakers) else 1) + speakers
    order = torch.argsort(key, stable=True)
    return order, torch.unique_consecutive(key[order], return_counts=True)[1].tolist()
