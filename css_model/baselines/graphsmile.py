"""GraphSmile: graphs of two modalities at a time, and how the sentiment changes.

Li, Wang, Zeng 2025, Tracing Intricate Cues in Dialogue: Joint Graph Structure and Sentiment
Dynamics for Multimodal Emotion Recognition, IEEE TPAMI.

Each pair of modalities has a graph of its own, with edges to utterances within a window. A layer
first lets the two modalities read each other, then each of them its own context, so that no step
mixes both. The projected outputs of all graphs (two per pair) are averaged. Besides the emotion,
the model learns the sentiment and whether it changes between two utterances.

The paper's full text was not at hand. Decided here: edges weigh 1 - arccos(cosine) / π of the
inputs, as in MMGCN, and are normalised by the degrees; a step is residual with a ReLU and a layer
norm, and both modalities of a graph share its matrix; a speaker embedding is added to every
modality; the shift is read by a hidden layer. The batch norm of the features is left out: merc has
standardised them over the training part, and the linear layer behind it holds its scale and shift.

With the four 1024-wide vectors that RoBERTa gives in the published features, MELD's count is within
2 % of the figure that is known, 7.2 M; IEMOCAP's is 5 % above its 15.1 M. So built, the model reads
no order in time: its windows reach as far back as forward.

Sentiments come from the names of the emotions (`SENTIMENTS`), as tables have no column for them. An
emotion that is not listed is a sentiment of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from css_model.baselines.baseline import Baseline, Target
from css_model.baselines.graphs import angular_similarity, normalised
from css_model.baselines.sequences import pad
from css_model.baselines.shift import ShiftHead
from css_model.batch import Batch
from css_model.config import SpeakerConfig
from css_model.embeddings import SpeakerTable
from css_model.interface import Output
from css_model.objectives import Losses

__all__ = ["GraphSmile", "GraphSmileConfig", "PairLayer", "sentiments_of"]

_NAMES = {
    "positive": "joy happy happiness excited excitement",
    "neutral": "neutral surprise surprised",
    "negative": "anger angry sad sadness fear disgust frustrated frustration",
}
SENTIMENTS = {emotion: name for name, emotions in _NAMES.items() for emotion in emotions.split()}


def sentiments_of(labels: tuple[str, ...]) -> list[int]:
    """Return the number of the sentiment of every emotion, by first appearance.

    >>> sentiments_of(("happy", "sad", "Excited", "bored"))
    [0, 1, 0, 2]
    """
    names = [SENTIMENTS.get(label.lower(), label) for label in labels]
    order = list(dict.fromkeys(names))
    return [order.index(name) for name in names]


@dataclass(frozen=True)
class GraphSmileConfig(SpeakerConfig):
    """Dimensions and options of GraphSmile; the defaults are those for IEMOCAP.

    window: utterances before and after that an edge reaches.
    shift_window: largest distance of two utterances whose sentiments are compared.
    sentiment_weight, shift_weight: of the second and third loss; the first has weight 1.

    >>> GraphSmileConfig(widths={"text": 4}, labels=("joy", "anger")).layers
    7
    """

    MODEL: ClassVar[str] = "graphsmile"

    d: int = 512
    layers: int = 7
    window: int = 17
    shift_window: int = 19
    shift_hidden: int = 128
    dropout: float = 0.2
    speakers: int = 2
    sentiment_weight: float = 1.0
    shift_weight: float = 0.7


class PairLayer(nn.Module):
    """One layer of the graph of two modalities: a step between them, then a step within each.

    A step is LN(h + ReLU(A h' W)), where h' are the rows that are read.
    """

    def __init__(self, d: int, dropout: float) -> None:
        super().__init__()
        self.between, self.within = nn.Linear(d, d), nn.Linear(d, d)
        self.norm_between, self.norm_within = nn.LayerNorm(d), nn.LayerNorm(d)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, a: Tensor, b: Tensor, between: Tensor, within_a: Tensor, within_b: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Map the nodes of both modalities, (B, T, d) each.

        between: (B, T, T), row i of a, column j of b. within_a, within_b: (B, T, T).
        """
        a, b = (
            self._step(a, between @ b, self.between, self.norm_between),
            self._step(b, between.transpose(1, 2) @ a, self.between, self.norm_between),
        )
        a = self._step(a, within_a @ a, self.within, self.norm_within)
        return a, self._step(b, within_b @ b, self.within, self.norm_within)

    def _step(self, h: Tensor, read: Tensor, layer: nn.Module, norm: nn.Module) -> Tensor:
        return norm(h + self.dropout(F.relu(layer(read))))


class GraphSmile(Baseline):
    """GraphSmile; losses: emotion, sentiment, shift of the sentiment."""

    config: GraphSmileConfig

    def __init__(self, config: GraphSmileConfig) -> None:
        super().__init__(config)
        d, names = config.d, config.modalities
        self.project = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(width, d), nn.LeakyReLU())
                for name, width in config.widths
            }
        )
        self.speaker = SpeakerTable(config.speakers, d)
        # a single modality has a graph with itself
        self.pairs = list(combinations(names, 2)) or [(names[0], names[0])]
        self.graphs = nn.ModuleList(
            nn.ModuleList(PairLayer(d, config.dropout) for _ in range(config.layers))
            for _ in self.pairs
        )
        self.output = nn.ModuleList(nn.Linear(d, d) for _ in range(2 * len(self.pairs)))
        self.dropout = nn.Dropout(config.dropout)
        sentiments = sentiments_of(config.labels)
        self.sentiments = sentiments
        self.classifier = nn.Linear(d, len(config.labels))
        self.sentiment = nn.Linear(d, max(sentiments) + 1)
        self.shift = ShiftHead(d, config.shift_hidden)

    @property
    def loss_weights(self) -> tuple[float, float, float]:
        return (1.0, self.config.sentiment_weight, self.config.shift_weight)

    def forward(self, batch: Batch) -> Output:
        """Compute the logits of a batch."""
        present = self.present(batch)
        rows = self.projected(batch, present, self.project, self.speaker.of(batch))
        nodes = {name: pad(h, batch.lengths)[0] for name, h in rows.items()}
        there = {name: pad(mask, batch.lengths)[0] for name, mask in present.items()}
        _, mask = pad(batch.speakers, batch.lengths)
        total = count = torch.zeros(len(batch), 1, device=batch.speakers.device)
        for k, (pair, layers) in enumerate(zip(self.pairs, self.graphs, strict=True)):
            sides = self._graph(nodes, there, pair, layers)
            for name, side, output in zip(pair, sides, self.output[2 * k :], strict=False):
                known = present[name][:, None]
                total = total + torch.where(known, output(side[mask]), 0)
                count = count + known
        hidden = self.dropout(total / count.clamp(min=1))
        return Output(self.classifier(hidden), {}, {}, present, {"hidden": hidden})

    def _graph(
        self,
        nodes: dict[str, Tensor],
        there: dict[str, Tensor],
        pair: tuple[str, str],
        layers: nn.Module,
    ) -> tuple[Tensor, Tensor]:
        (a, b), (has_a, has_b) = ([part[name] for name in pair] for part in (nodes, there))
        between, within_a, within_b = (
            self._adjacency(*ends)
            for ends in ((a, has_a, b, has_b), (a, has_a, a, has_a), (b, has_b, b, has_b))
        )
        for layer in layers.children():
            a, b = layer(a, b, between, within_a, within_b)
        return a, b

    def _adjacency(self, a: Tensor, has_a: Tensor, b: Tensor, has_b: Tensor) -> Tensor:
        """Return the normalised weights of the edges of a to b, (B, T, T)."""
        time = torch.arange(a.shape[1], device=a.device)
        near = (time[:, None] - time).abs() <= self.config.window
        edges = near & has_a[:, :, None] & has_b[:, None, :]
        weight = angular_similarity(F.normalize(a, dim=-1), F.normalize(b, dim=-1))
        return normalised(torch.where(edges, weight, 0))

    def losses(self, output: Output, batch: Batch, class_weights: Tensor | None = None) -> Losses:
        """Compute the losses of emotion, sentiment and shift; class weights: of the first."""
        target, hidden = Target(output, batch, class_weights), output.extra["hidden"]
        sentiments = torch.tensor(self.sentiments, device=hidden.device)[target.labels]
        own = F.cross_entropy(self.sentiment(hidden), sentiments, reduction="none")
        shift = self.shift.loss(
            hidden, sentiments, target.mask, batch.lengths, self.config.shift_window
        )
        return target.losses(target.cross_entropy(output.logits), target.mean(own), shift)
