"""An auxiliary task of two models: does the label change between two utterances of a dialogue?"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from css_model.baselines.sequences import positions_in_time
from css_model.fusion import wide

__all__ = ["ShiftHead", "utterance_pairs"]


class ShiftHead(nn.Module):
    """Two logits per pair of utterances, same or changed: V ReLU(W [h_i; h_j]).

    A single linear layer could not tell equal labels from different ones: its logits would be a sum
    over both utterances.
    """

    def __init__(self, d: int, hidden: int) -> None:
        super().__init__()
        self.earlier, self.later = nn.Linear(d, hidden), nn.Linear(d, hidden, bias=False)
        self.classifier = nn.Linear(hidden, 2)

    def forward(self, rows: Tensor, i: Tensor, j: Tensor) -> Tensor:
        """Return (P, 2) for the pairs of rows (N, d) that i and j (P,) number."""
        return self.classifier(F.relu(self.earlier(rows)[i] + self.later(rows)[j]))

    def loss(
        self, rows: Tensor, classes: Tensor, use: Tensor, lengths: list[int], window: int = 0
    ) -> Tensor:
        """Return the mean cross-entropy over the pairs of `utterance_pairs`, 0 without any.

        classes: (N,) int64.
        """
        i, j = utterance_pairs(use, lengths, window)
        if not len(i):
            return wide(rows).sum() * 0
        return F.cross_entropy(wide(self(rows, i, j)), (classes[i] != classes[j]).long())


def utterance_pairs(use: Tensor, lengths: list[int], window: int = 0) -> tuple[Tensor, Tensor]:
    """Return the numbers (P,) of the earlier and of the later utterance of all pairs in dialogues.

    use: (N,) bool; both must be true. window: largest distance in time; 0: any.

    >>> utterance_pairs(torch.tensor([True, True, False, True, True]), [4, 1])
    (tensor([0, 1, 0]), tensor([1, 3, 3]))
    """
    dialogue, _ = positions_in_time(lengths, use.device)
    furthest = max(lengths, default=1) - 1
    found = [torch.zeros(0, dtype=torch.long, device=use.device)]
    later = list(found)
    for distance in range(1, min(furthest, window or furthest) + 1):
        same = dialogue[distance:] == dialogue[:-distance]
        first = (same & use[distance:] & use[:-distance]).nonzero().flatten()
        found.append(first)
        later.append(first + distance)
    return torch.cat(found), torch.cat(later)
