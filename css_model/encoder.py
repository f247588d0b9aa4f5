"""Eqs. 2-6: one contextual vector per utterance and modality.

Every linear layer sees the N packed utterances; only attention pads. Missing features are no keys
of the attention, and the attention output of a dialogue without keys is zero.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from css_model.batch import Batch
from css_model.config import CSSConfig
from css_model.embeddings import SpeakerTable
from css_model.linear import Linear

__all__ = ["Encoder", "Layout"]


class Layout:
    """Which packed rows belong to which dialogue.

    Dialogues of similar length share one padded call of the attention. A single call for all would
    pad every dialogue to the longest: one of 5,000 utterances among 31 short ones would make it
    32 x 5,000 rows.
    """

    WASTE = 4  # a group holds dialogues down to a quarter of its longest

    def __init__(self, lengths: list[int], device: torch.device) -> None:
        starts = [0]
        for length in lengths:
            starts.append(starts[-1] + length)
        self.n = starts[-1]
        order = sorted((i for i in range(len(lengths)) if lengths[i]), key=lambda i: -lengths[i])
        self.groups: list[tuple[Tensor, Tensor]] = []  # rows (b, t), valid (b, t)
        while order:
            longest = lengths[order[0]]
            members = [i for i in order if lengths[i] * self.WASTE >= longest]
            order = order[len(members) :]
            steps = torch.arange(longest)
            sizes = torch.tensor([lengths[i] for i in members]).unsqueeze(1)
            first = torch.tensor([starts[i] for i in members]).unsqueeze(1)
            valid = steps < sizes
            self.groups.append(((first + steps.minimum(sizes - 1)).to(device), valid.to(device)))
        packed = [rows[valid] for rows, valid in self.groups]
        if packed:
            self.inverse = torch.argsort(torch.cat(packed))
        else:
            self.inverse = torch.zeros(0, dtype=torch.long, device=device)

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, usable: Tensor, heads: int
    ) -> Tensor:
        """Compute scaled dot-product attention within dialogues.

        query, key, value: (N, d). usable: (N,) bool, which rows may be keys. Returns (N, d).
        """
        outputs = []
        for rows, valid in self.groups:
            q = _heads(query, rows, heads)
            mask = valid & usable[rows]
            if len(rows) == 1:
                # a single dialogue needs no mask: select its usable keys
                keys = rows[mask].unsqueeze(0)
                if keys.shape[1] == 0:
                    out = torch.zeros_like(q)
                else:
                    k, v = _heads(key, keys, heads), _heads(value, keys, heads)
                    out = F.scaled_dot_product_attention(q, k, v)
            else:
                any_key = mask.any(1, keepdim=True)
                k, v = _heads(key, rows, heads), _heads(value, rows, heads)
                # without keys, attend to all rows to avoid NaN, then set the output to zero
                attn_mask = (mask | ~any_key)[:, None, None, :]
                out = F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask)
                out = torch.where(any_key[:, :, None, None], out, 0)
            outputs.append(out.transpose(1, 2).flatten(2)[valid])
        return torch.cat(outputs)[self.inverse] if outputs else query

    def any(self, rows: Tensor) -> Tensor:
        """Map (N,) bool to (N,) bool: is it true of some utterance of the same dialogue?"""
        result = torch.zeros_like(rows)
        for index, valid in self.groups:
            true_of_any = (rows[index] & valid).any(1, keepdim=True).expand_as(valid)
            result[index[valid]] = true_of_any[valid]
        return result


def _heads(x: Tensor, rows: Tensor, heads: int) -> Tensor:
    """Gather rows (b, t) of (N, d) and split them into heads: (b, heads, t, d / heads)."""
    gathered = x.index_select(0, rows.reshape(-1))
    return gathered.view(*rows.shape, heads, -1).transpose(1, 2)


class Attention(nn.Module):
    """Multi-head attention over the utterances of a dialogue.

    Its weights have no dropout, which would rule out the fast kernels.
    """

    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key_value, self.out = Linear(d, d), Linear(d, 2 * d), Linear(d, d)

    def forward(self, x: Tensor, context: Tensor, usable: Tensor, layout: Layout) -> Tensor:
        key, value = self.key_value(context).chunk(2, -1)
        return self.out(layout.attend(self.query(x), key, value, usable, self.heads))


class Block(nn.Module):
    """A pre-norm Transformer block: attention and a GELU feed-forward layer, both residual.

    Dropout follows each of them. Queries and keys share a norm: eq. 4 sums over the modalities that
    are present, so the scale of k varies with their number.
    """

    def __init__(self, config: CSSConfig) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(config.d), Attention(config.d, config.heads)
        self.norm_feed = nn.LayerNorm(config.d)
        self.feed = nn.Sequential(
            Linear(config.d, config.hidden), nn.GELU(), Linear(config.hidden, config.d)
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, context: Tensor | None, usable: Tensor, layout: Layout) -> Tensor:
        """Map x (N, d) to (N, d). context: keys and values (N, d); None for self-attention."""
        query = self.norm(x)
        keys = query if context is None else self.norm(context)
        x = x + self.dropout(self.attention(query, keys, usable, layout))
        return x + self.dropout(self.feed(self.norm_feed(x)))


class Stack(nn.ModuleList):
    """`layers` blocks in a row, all with the same context (None: self-attention)."""

    def __init__(self, config: CSSConfig) -> None:
        super().__init__(Block(config) for _ in range(config.layers))

    def forward(self, x: Tensor, context: Tensor | None, usable: Tensor, layout: Layout) -> Tensor:
        for block in self:
            x = block(x, context, usable, layout)
        return x


class Gates(nn.Module):
    """Eqs. 3-4: k^(m), the sum of the other modalities, each gated by the query modality."""

    def __init__(self, config: CSSConfig) -> None:
        super().__init__()
        names, out = config.modalities, 1 if config.gate == "scalar" else config.d
        self.pairwise = config.gate == "pair"
        keys = list(names)
        if self.pairwise:
            keys = [f"{query}_{other}" for query in names for other in names if query != other]
        self.weight = nn.ModuleDict({key: Linear(config.d, out) for key in keys})

    def forward(self, query: str, hidden: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        """Return (N, d), the sum over the other modalities that are present.

        query: the query modality. hidden: modality -> (N, d). present: modality -> (N,) bool.
        """
        total = torch.zeros_like(hidden[query])
        for name, other in hidden.items():
            if name != query:
                layer = self.weight[f"{query}_{name}" if self.pairwise else name]
                gate = torch.sigmoid(layer(hidden[query]))
                total = total + torch.where(present[name][:, None], gate * other, 0)
        return total


class Encoder(nn.Module):
    """The shared trunk θ: everything up to and including the output projection of eq. 6."""

    def __init__(self, config: CSSConfig) -> None:
        super().__init__()
        names, d = config.modalities, config.d
        self.config = config
        # the paper's "1D convolution" with kernel 1 and no bias is a linear map per utterance
        self.project = nn.ModuleDict(
            {name: Linear(width, d, bias=False) for name, width in config.widths}
        )
        self.speaker = SpeakerTable(config.speakers, d)
        # the root mean square of the positions, to which it is added, is 0.7
        nn.init.normal_(self.speaker.weight, std=0.5)
        self.mae = nn.ModuleDict({m: Stack(config) for m in names} if config.mae else {})
        # a single modality has nothing to interact with
        self.crossing = config.iae and len(names) > 1
        self.iae = nn.ModuleDict({m: Stack(config) for m in names} if self.crossing else {})
        self.gates = Gates(config) if self.crossing else None
        width = 2 * d if self.crossing else d
        self.output = nn.ModuleDict({m: Linear(width, d) for m in names})
        for weight in (p for p in self.output.parameters() if p.dim() == 2):
            # gives h̃ a root mean square of about 1, which SPF's initialisation assumes
            nn.init.normal_(weight, std=width**-0.5)

    def forward(
        self, batch: Batch, present: dict[str, Tensor], layout: Layout | None = None
    ) -> dict[str, Tensor]:
        """Return modality -> h̃ (N, d), zero where the feature is missing.

        present: modality -> (N,) bool. The mask applies after the bias of eq. 6. layout: default:
        that of `batch.lengths`.
        """
        layout = layout or Layout(batch.lengths, batch.speakers.device)
        extra = self.speaker.with_positions(batch)
        inputs, contexts = {}, {}
        for name in self.project:
            inputs[name] = contexts[name] = self._project(name, batch, present[name], extra)
            if self.config.mae:
                contexts[name] = self.mae[name](inputs[name], None, present[name], layout)
        queries = contexts if self.config.iae_input == "serial" else inputs
        hidden = {}
        for name, context in contexts.items():
            parts = [context]
            if self.gates is not None:
                parts.append(self._interact(name, queries, present, layout))
            output = self.output[name](torch.cat(parts, -1))
            hidden[name] = torch.where(present[name][:, None], output, 0)
        return hidden

    def _project(self, name: str, batch: Batch, present: Tensor, extra: Tensor) -> Tensor:
        """Return h of a modality, (N, d): its features projected to d, plus `extra`."""
        if name not in batch.features:
            return torch.zeros_like(extra)
        mask = present[:, None]
        rows = batch.features[name].masked_fill(~mask, 0)
        rows = F.dropout(rows, self.config.feature_dropout, self.training)
        return torch.where(mask, self.project[name](rows) + extra, 0)

    def _interact(
        self, name: str, hidden: dict[str, Tensor], present: dict[str, Tensor], layout: Layout
    ) -> Tensor:
        """Return h_Ia of a modality (eqs. 3-5), (N, d); zero if the dialogue has no other."""
        assert self.gates is not None
        others = torch.zeros_like(present[name])
        for other, rows in present.items():
            if other != name:
                others = others | rows
        x = self.iae[name](hidden[name], self.gates(name, hidden, present), others, layout)
        return torch.where(layout.any(others)[:, None], x, 0)
