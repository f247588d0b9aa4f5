"""Eqs. 2-6: features to one contextual vector per utterance and modality, on packed utterances.

Every linear layer sees the N valid utterances; padding exists only inside scaled_dot_product_attention.
Missing features are never attended to: they are no keys, and a dialogue without any key gets zero.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from css_model.batch import Batch
from css_model.config import CSSConfig

__all__ = ["Encoder", "Layout", "positions"]


class Layout:
    """Which packed rows form which dialogue.  Dialogues of similar length share one padded attention call.

    One call for all would pad every dialogue to the longest: a single one of 5,000 utterances among 31 short ones
    would cost 32 x 5,000 rows.
    """

    WASTE = 4  # a group holds dialogues down to a quarter of its longest

    def __init__(self, lengths: list[int], device: torch.device) -> None:
        starts = [0]
        for length in lengths:
            starts.append(starts[-1] + length)
        self.n = starts[-1]
        order = sorted(
            (number for number in range(len(lengths)) if lengths[number]), key=lambda i: -lengths[i]
        )
        self.groups: list[tuple[Tensor, Tensor]] = []  # rows (b, t), valid (b, t)
        while order:
            longest = lengths[order[0]]
            members = [number for number in order if lengths[number] * self.WASTE >= longest]
            order = order[len(members) :]
            steps = torch.arange(longest)
            sizes = torch.tensor([lengths[number] for number in members]).unsqueeze(1)
            first = torch.tensor([starts[number] for number in members]).unsqueeze(1)
            valid = steps < sizes
            self.groups.append(((first + steps.minimum(sizes - 1)).to(device), valid.to(device)))
        packed = [rows[valid] for rows, valid in self.groups]
        self.inverse = (
            torch.argsort(torch.cat(packed))
            if packed
            else torch.zeros(0, dtype=torch.long, device=device)
        )

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, usable: Tensor, heads: int
    ) -> Tensor:
        """Attention within dialogues: (N, d) query, key, value; usable (N,) bool keys.  Returns (N, d)."""
        outputs = []
        for rows, valid in self.groups:
            q = _heads(query, rows, heads)
            mask = valid & usable[rows]
            if len(rows) == 1:  # a dialogue alone needs no mask: its usable keys are simply taken
                keys = rows[mask].unsqueeze(0)
                if keys.shape[1] == 0:
                    out = torch.zeros_like(q)
                else:
                    out = F.scaled_dot_product_attention(
                        q, _heads(key, keys, heads), _heads(value, keys, heads)
                    )
            else:
                some = mask.any(1, keepdim=True)
                out = F.scaled_dot_product_attention(
                    q,
                    _heads(key, rows, heads),
                    _heads(value, rows, heads),
                    attn_mask=(mask | ~some)[:, None, None, :],
                )
                out = torch.where(some[:, :, None, None], out, 0)
            outputs.append(out.transpose(1, 2).flatten(2)[valid])
        return torch.cat(outputs)[self.inverse] if outputs else query

    def any(self, rows: Tensor) -> Tensor:
        """(N,) bool to (N,) bool: does it hold for some utterance of the same dialogue?"""
        result = torch.zeros_like(rows)
        for index, valid in self.groups:
            found = (rows[index] & valid).any(1, keepdim=True).expand_as(valid)
            result[index[valid]] = found[valid]
        return result


def _heads(x: Tensor, rows: Tensor, heads: int) -> Tensor:
    """(N, d) gathered by rows (b, t) to (b, heads, t, d / heads)."""
    gathered = x.index_select(0, rows.reshape(-1))
    return gathered.view(*rows.shape, heads, -1).transpose(1, 2)


def positions(lengths: list[int], d: int, device: torch.device | str = "cpu") -> Tensor:
    """Sinusoidal positions (Vaswani et al. 2017) within each dialogue, computed for any length: (N, d) float32."""
    steps = torch.cat([torch.arange(length, device=device) for length in lengths]).to(torch.float32)
    rates = torch.exp(torch.arange(0, d, 2, device=device) * (-math.log(10_000.0) / d))
    angles = steps[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)[:, :d]


class Attention(nn.Module):
    """Multi-head attention over the utterances of a dialogue; dropout on its weights would forbid the fast kernels."""

    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key_value, self.out = nn.Linear(d, d), nn.Linear(d, 2 * d), nn.Linear(d, d)

    def forward(self, x: Tensor, context: Tensor, usable: Tensor, layout: Layout) -> Tensor:
        key, value = self.key_value(context).chunk(2, -1)
        return self.out(layout.attend(self.query(x), key, value, usable, self.heads))


class Block(nn.Module):
    """Pre-norm attention, residual, feed-forward (GELU); dropout after each (decisions 6 and 18).

    One norm serves queries and keys: eq. 4 sums over the present modalities, so the scale of k varies with them.
    """

    def __init__(self, config: CSSConfig) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(config.d), Attention(config.d, config.heads)
        self.norm_feed = nn.LayerNorm(config.d)
        self.feed = nn.Sequential(
            nn.Linear(config.d, config.hidden), nn.GELU(), nn.Linear(config.hidden, config.d)
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, context: Tensor | None, usable: Tensor, layout: Layout) -> Tensor:
        query = self.norm(x)
        keys = query if context is None else self.norm(context)
        x = x + self.dropout(self.attention(query, keys, usable, layout))
        return x + self.dropout(self.feed(self.norm_feed(x)))


class Stack(nn.ModuleList):
    """`layers` blocks, one after another; all see the same context (None: themselves)."""

    def __init__(self, config: CSSConfig) -> None:
        super().__init__(Block(config) for _ in range(config.layers))

    def forward(self, x: Tensor, context: Tensor | None, usable: Tensor, layout: Layout) -> Tensor:
        for block in self:
            x = block(x, context, usable, layout)
        return x


class Gates(nn.Module):
    """Eqs. 3-4: k^(m), the other modalities of the same utterance, each gated by the query modality."""

    def __init__(self, config: CSSConfig) -> None:
        super().__init__()
        names, out = config.modalities, 1 if config.gate == "scalar" else config.d
        self.pairwise = config.gate == "pair"
        keys = (
            [f"{q}_{m}" for q in names for m in names if q != m] if self.pairwise else list(names)
        )
        self.weight = nn.ModuleDict({key: nn.Linear(config.d, out) for key in keys})

    def forward(self, query: str, hidden: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        """(N, d), summed over the present other modalities."""
        total = torch.zeros_like(hidden[query])
        for name, other in hidden.items():
            if name != query:
                gate = torch.sigmoid(
                    self.weight[f"{query}_{name}" if self.pairwise else name](hidden[query])
                )
                total = total + torch.where(present[name][:, None], gate * other, 0)
        return total


class Encoder(nn.Module):
    """The shared trunk θ: everything up to and including the output projection of eq. 6."""

    def __init__(self, config: CSSConfig) -> None:
        super().__init__()
        names, d = config.modalities, config.d
        self.config = config
        # "1D convolution" with kernel 1 and no bias: a linear map per utterance (decision 2)
        self.project = nn.ModuleDict(
            {name: nn.Linear(width, d, bias=False) for name, width in config.widths}
        )
        self.speaker = nn.Embedding(config.speakers, d)
        nn.init.normal_(self.speaker.weight, std=0.5)  # beside positions of rms .7
        self.mae = nn.ModuleDict({m: Stack(config) for m in names} if config.mae else {})
        self.crossing = (
            config.iae and len(names) > 1
        )  # a single modality has nothing to interact with
        self.iae = nn.ModuleDict({m: Stack(config) for m in names} if self.crossing else {})
        self.gates = Gates(config) if self.crossing else None
        width = 2 * d if self.crossing else d
        self.output = nn.ModuleDict({m: nn.Linear(width, d) for m in names})
        for weight in (p for p in self.output.parameters() if p.dim() == 2):
            nn.init.normal_(
                weight, std=width**-0.5
            )  # h̃ of root mean square about 1, as SPF's start needs

    def forward(self, batch: Batch, present: dict[str, Tensor]) -> dict[str, Tensor]:
        """modality -> h̃ (N, d); zero where the feature is missing (after the bias of eq. 6, decision 20)."""
        layout = Layout(batch.lengths, batch.speakers.device)
        extra = positions(batch.lengths, self.config.d, batch.speakers.device)
        extra = extra.to(self.speaker.weight.dtype) + self.speaker(
            batch.speakers % self.config.speakers
        )
        first, own = {}, {}
        for name, project in self.project.items():
            there = present[name][:, None]
            x = torch.zeros_like(extra)
            if name in batch.features:
                rows = batch.features[name].masked_fill(~there, 0)
                rows = F.dropout(rows, self.config.feature_dropout, self.training)
                x = torch.where(there, project(rows) + extra, 0)
            first[name] = own[name] = x
            if self.config.mae:
                own[name] = self.mae[name](x, None, present[name], layout)
        hidden = {}
        for name in self.project:
            parts = [own[name]]
            if self.gates is not None:
                parts.append(
                    self._interact(
                        name, own if self.config.iae_input == "serial" else first, present, layout
                    )
                )
            hidden[name] = torch.where(
                present[name][:, None], self.output[name](torch.cat(parts, -1)), 0
            )
        return hidden

    def _interact(
        self, name: str, hidden: dict[str, Tensor], present: dict[str, Tensor], layout: Layout
    ) -> Tensor:
        assert self.gates is not None
        others = torch.zeros_like(present[name])
        for other, rows in present.items():
            if other != name:
                others = others | rows
        x = self.iae[name](hidden[name], self.gates(name, hidden, present), others, layout)
        return torch.where(
            layout.any(others)[:, None], x, 0
        )  # no other modality in the dialogue: h_Ia = 0
