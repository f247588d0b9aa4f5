"""MPT-HCL: a Transformer of the text, prompted by voice and face, with two contrastive losses.

Zou, Huang, Shen 2023, Multimodal Prompt Transformer with Hybrid Contrastive Learning for Emotion
Recognition in Conversation, ACM Multimedia.

The text, which says most, passes a Transformer over the dialogue that extracts its cues. The other
modalities pass feature filters and are prompts: further keys and values in every attention layer of
a second Transformer (MPT), which thus fuses them with the text at each level. Hybrid contrastive
learning adds an unsupervised loss, which pulls two passes with different dropout together, and a
supervised one, which pulls together utterances of one emotion.

The paper's full text was not at hand. Decided here: the text alone counts as strong (without it,
the first modality); a filter is σ(U h) ⊙ tanh(V h), with parameters of its own in every layer;
blocks are pre-norm with a GELU feed-forward layer of 4 d; negatives are the other utterances of the
batch; positions are sinusoidal and a speaker embedding is added to every modality. So are the sizes
and the weights of the losses; no number of parameters is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from css_model.baselines.baseline import Baseline, Target
from css_model.baselines.contrast import contrast_labels, contrast_views
from css_model.baselines.sequences import pad
from css_model.batch import Batch
from css_model.config import CSSConfig, SpeakerConfig
from css_model.embeddings import SpeakerTable
from css_model.encoder import Layout, Stack
from css_model.interface import Output
from css_model.objectives import Losses

__all__ = ["MPTHCL", "MPTHCLConfig", "PromptedBlock"]


@dataclass(frozen=True)
class MPTHCLConfig(SpeakerConfig):
    """Dimensions and options of MPT-HCL.

    cue_layers, layers: of the Transformer of the text, and of the prompted one.
    temperature: of both contrastive losses.
    unsupervised_weight, supervised_weight: of the second and third loss; the first has weight 1.

    >>> MPTHCLConfig(widths={"text": 4}, labels=("joy", "anger")).layers
    4
    """

    MODEL: ClassVar[str] = "mpt-hcl"

    d: int = 256
    heads: int = 8
    cue_layers: int = 2
    layers: int = 4
    dropout: float = 0.3
    speakers: int = 2
    temperature: float = 0.5
    unsupervised_weight: float = 0.1
    supervised_weight: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.temperature > 0:
            raise ValueError(f"temperature must be positive, not {self.temperature}")


class PromptedBlock(nn.Module):
    """A Transformer block whose keys and values are the text and the filtered other modalities."""

    def __init__(self, config: MPTHCLConfig, centre: str) -> None:
        super().__init__()
        d, self.heads, self.centre = config.d, config.heads, centre
        others = [name for name in config.modalities if name != centre]
        self.filter_gate = nn.ModuleDict({name: nn.Linear(d, d) for name in others})
        self.filter = nn.ModuleDict({name: nn.Linear(d, d) for name in others})
        self.norm, self.norm_feed = nn.LayerNorm(d), nn.LayerNorm(d)
        self.query, self.key_value, self.out = nn.Linear(d, d), nn.Linear(d, 2 * d), nn.Linear(d, d)
        self.feed = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Tensor, rows: dict[str, Tensor], present: dict[str, Tensor], lengths: list[int]
    ) -> Tensor:
        """Map the text x (N, d). rows: modality -> (N, d), of which all but the text are prompts.

        A dialogue without any key gets no attention.
        """
        query = self.norm(x)
        contexts, usable = [query], [present[self.centre]]
        for name in self.filter:
            gate = torch.sigmoid(self.filter_gate[name](rows[name]))
            contexts.append(self.norm(gate * torch.tanh(self.filter[name](rows[name]))))
            usable.append(present[name])
        read = self._attend(query, torch.stack(contexts, 1), torch.stack(usable, 1), lengths)
        x = x + self.dropout(read)
        return x + self.dropout(self.feed(self.norm_feed(x)))

    def _attend(
        self, query: Tensor, contexts: Tensor, usable: Tensor, lengths: list[int]
    ) -> Tensor:
        """Attend from (N, d) to the (N, M, d) of the same dialogue that are usable (N, M)."""
        key, value = self.key_value(contexts).chunk(2, -1)
        q, mask = pad(self.query(query), lengths)
        k, v = (pad(part, lengths)[0].flatten(1, 2) for part in (key, value))
        keys = pad(usable, lengths)[0].flatten(1)
        any_key = keys.any(1)[:, None, None]
        # without keys, attend to all rows to avoid NaN, then drop the result
        attention_mask = keys[:, None, None, :] | ~any_key[..., None]
        q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v, attention_mask)
        return torch.where(any_key, self.out(out.transpose(1, 2).flatten(2)), 0)[mask]


class MPTHCL(Baseline):
    """MPT-HCL; losses: emotion, unsupervised and supervised contrast."""

    config: MPTHCLConfig

    def __init__(self, config: MPTHCLConfig) -> None:
        super().__init__(config)
        d, names = config.d, config.modalities
        self.centre = "text" if "text" in names else names[0]
        self.project = nn.ModuleDict({name: nn.Linear(width, d) for name, width in config.widths})
        self.speaker = SpeakerTable(config.speakers, d)
        block = CSSConfig(
            config.widths, config.labels, d, config.heads, 4 * d, config.cue_layers, config.dropout
        )
        self.cues = Stack(block)
        self.transformer = nn.ModuleList(
            PromptedBlock(config, self.centre) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(d)
        self.classifier = nn.Linear(d, len(config.labels))
        self.dropout = nn.Dropout(config.dropout)

    @property
    def loss_weights(self) -> tuple[float, float, float]:
        return (1.0, self.config.unsupervised_weight, self.config.supervised_weight)

    def forward(self, batch: Batch) -> Output:
        """Compute the logits of a batch; in training, also a second view of every utterance."""
        present = self.present(batch)
        layout = Layout(batch.lengths, batch.speakers.device)
        extra = self.speaker.with_positions(batch)
        rows = self.projected(batch, present, self.project, extra)
        # an utterance without text asks with its speaker and position
        centre, there = rows[self.centre], present[self.centre]
        text = torch.where(there[:, None], self.cues(centre, None, there, layout), extra)
        hidden = self._fuse(text, rows, present, batch.lengths)
        view = self._fuse(text, rows, present, batch.lengths) if self.training else hidden
        logits = self.classifier(self.dropout(hidden))
        return Output(logits, {}, {}, present, {"hidden": hidden, "view": view})

    def _fuse(
        self, text: Tensor, rows: dict[str, Tensor], present: dict[str, Tensor], lengths: list[int]
    ) -> Tensor:
        for block in self.transformer:
            text = block(text, rows, present, lengths)
        return self.norm(text)

    def losses(self, output: Output, batch: Batch, class_weights: Tensor | None = None) -> Losses:
        """Compute the loss of the emotion and the two contrastive losses."""
        target = Target(output, batch, class_weights)
        known = torch.stack(list(output.present.values())).any(0)[None, :, None]
        first, second = output.extra["hidden"], output.extra["view"]
        temperature = self.config.temperature
        return target.losses(
            target.cross_entropy(output.logits),
            contrast_views(first[None], second[None], known, temperature),
            contrast_labels(first, target.labels, target.mask, temperature),
        )
