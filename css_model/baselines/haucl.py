"""HAUCL: hypergraphs that a variational autoencoder thins out, and a contrast of two of them.

Yi et al. 2024, Multimodal Fusion via Hypergraph Autoencoder and Contrastive Learning for Emotion
Recognition in Conversation, ACM Multimedia.

Text passes a bidirectional GRU over the dialogue, the other modalities a linear layer; speaker
embeddings are added. These are the nodes of a hypergraph with an edge per modality and one per
utterance. A variational autoencoder (VHGAE) embeds nodes and hyperedges and decides by the products
of their samples which nodes remain in which hyperedge. Two such paths, each with convolutions
behind, give two views of every node; a contrastive loss pulls the views of a node together. The
views are averaged, the modalities concatenated and classified.

The paper's full text was not at hand. Decided here: both paths have parameters of their own; nodes
are embedded by a hypergraph convolution, hyperedges by the mean of their nodes; the convolutions of
the paths are residual; a node can leave a hyperedge of the full hypergraph, but enter no other one;
its membership is a relaxed Bernoulli variable (Gumbel softmax over two), and the probability itself
outside training; the autoencoder's loss is the divergence from N(0, 1) plus the cross-entropy of
the memberships, members and others weighing the same; nodes are contrasted within a dialogue after
a linear projection; the loss weights.

Width, layers and the separate paths were chosen by the figures for the parameters, 9.6 M and 9.0 M,
of which the counts are within 1 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from css_model.baselines.baseline import Target
from css_model.baselines.contrast import contrast_views, masked_mean
from css_model.baselines.graphs import ContextualModel, GraphReadout
from css_model.baselines.hypergraphs import HypergraphConvolution, ModalityHypergraph
from css_model.batch import Batch
from css_model.config import SpeakerConfig
from css_model.fusion import wide
from css_model.interface import Output
from css_model.objectives import Losses

__all__ = ["HAUCL", "HAUCLConfig", "HypergraphAutoencoder"]

LARGEST = 10.0  # of log σ², so that its exponential is finite


@dataclass(frozen=True)
class HAUCLConfig(SpeakerConfig):
    """Dimensions and options of HAUCL.

    d: width of the model, even. layers: convolutions of each path.
    gumbel_temperature: of the memberships. temperature: of the contrast.
    sample: False uses means and probabilities in training too.
    autoencoder_weight, contrast_weight: of the second and third loss; the first has weight 1.

    >>> HAUCLConfig(widths={"text": 4}, labels=("joy", "anger")).layers
    3
    """

    MODEL: ClassVar[str] = "haucl"

    d: int = 512
    layers: int = 3
    dropout: float = 0.4
    speakers: int = 2
    gumbel_temperature: float = 0.5
    temperature: float = 0.5
    sample: bool = True
    autoencoder_weight: float = 0.1
    contrast_weight: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not min(self.temperature, self.gumbel_temperature) > 0:
            raise ValueError("temperature and gumbel_temperature must be positive")


class HypergraphAutoencoder(nn.Module):
    """VHGAE: keep nodes in hyperedges by σ(z_vᵀ z_e / sqrt(d)) with Gaussian z_v and z_e."""

    def __init__(self, d: int, modalities: int, temperature: float, sample: bool) -> None:
        super().__init__()
        self.temperature, self.sample = temperature, sample
        self.nodes, self.edges = HypergraphConvolution(d, modalities), nn.Linear(d, d)
        self.node_moments, self.edge_moments = nn.Linear(d, 2 * d), nn.Linear(d, 2 * d)

    def forward(self, nodes: Tensor, graph: ModalityHypergraph) -> tuple[Tensor, Tensor]:
        """Return the memberships (B, M T, M + T), from 0 to 1, and the loss, a scalar.

        nodes: (B, M T, d).
        """
        full = graph.incidence.to(nodes)
        size = full.sum(1).clamp(min=1)[..., None]
        edges = F.relu(self.edges(full.transpose(1, 2) @ nodes / size))
        z_nodes, kl_nodes = self._draw(self.node_moments(self.nodes(nodes, full)))
        z_edges, kl_edges = self._draw(self.edge_moments(edges))
        logits = wide(z_nodes @ z_edges.transpose(1, 2)) / nodes.shape[-1] ** 0.5
        known, exists = graph.known, (full.sum(1) > 0)[..., None]
        possible = known & exists.transpose(1, 2)
        loss = masked_mean(kl_nodes, known) + masked_mean(kl_edges, exists)
        loss = loss + _balanced_cross_entropy(logits, full, possible)
        if self.training and self.sample:
            uniform = torch.rand_like(logits).clamp(1e-6, 1 - 1e-6)
            logits = (logits + uniform.logit()) / self.temperature
        return full * logits.sigmoid().to(full), loss

    def _draw(self, moments: Tensor) -> tuple[Tensor, Tensor]:
        """Return z (…, d), and the divergence from N(0, 1) per component, (…, 1)."""
        mean, log_variance = moments.chunk(2, -1)
        log_variance = log_variance.clamp(-LARGEST, LARGEST)
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).mean(-1, True) / 2
        if self.training and self.sample:
            mean = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        return mean, divergence


class HAUCL(ContextualModel):
    """HAUCL; losses: emotion, autoencoder, contrast."""

    config: HAUCLConfig

    def __init__(self, config: HAUCLConfig) -> None:
        super().__init__(config)
        d, count = config.d, len(config.modalities)
        self.autoencoders = nn.ModuleList(
            HypergraphAutoencoder(d, count, config.gumbel_temperature, config.sample)
            for _ in range(2)
        )
        self.paths = nn.ModuleList(
            nn.ModuleList(HypergraphConvolution(d, count) for _ in range(config.layers))
            for _ in range(2)
        )
        self.projection = nn.Linear(d, d)
        self.readout = GraphReadout(count * d, d, len(config.labels), config.dropout)
        self.dropout = nn.Dropout(config.dropout)

    @property
    def loss_weights(self) -> tuple[float, float, float]:
        return (1.0, self.config.autoencoder_weight, self.config.contrast_weight)

    def forward(self, batch: Batch) -> Output:
        """Compute the logits of a batch, and the losses that need no labels."""
        present = self.present(batch)
        graph = ModalityHypergraph(present, batch.lengths)
        inputs = graph.nodes(self.node_rows(batch, present))
        views, losses = [], []
        for autoencoder, path in zip(self.autoencoders, self.paths, strict=True):
            incidence, loss = autoencoder(inputs, graph)
            nodes = inputs
            for layer in path.children():
                # residual, so that nodes of the same hyperedges remain different
                nodes = nodes + layer(self.dropout(nodes), incidence)
            views.append(nodes)
            losses.append(loss)
        first, second = (self.projection(view) for view in views)
        extra = {
            "autoencoder": torch.stack(losses).mean(),
            "contrast": contrast_views(first, second, graph.known, self.config.temperature),
        }
        logits = self.readout(graph, torch.stack(views).mean(0))
        return Output(logits, {}, {}, present, extra)

    def losses(self, output: Output, batch: Batch, class_weights: Tensor | None = None) -> Losses:
        """Compute the loss of the emotion, and return those of autoencoder and contrast."""
        target = Target(output, batch, class_weights)
        task = target.cross_entropy(output.logits)
        return target.losses(task, output.extra["autoencoder"], output.extra["contrast"])


def _balanced_cross_entropy(logits: Tensor, target: Tensor, possible: Tensor) -> Tensor:
    """Return the average of the mean over members and the mean over others."""
    terms = F.binary_cross_entropy_with_logits(logits, target.to(logits), reduction="none")
    members = target > 0
    return (masked_mean(terms, members) + masked_mean(terms, possible & ~members)) / 2
