"""The CSS model: encoder, fusion, classifier, and one head per modality (eqs. 1-10)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from css_model.batch import Batch
from css_model.comparators import make_fusion
from css_model.config import CSSConfig
from css_model.encoder import Encoder, Layout
from css_model.interface import EmotionModel, Output
from css_model.linear import recorded_calls

__all__ = ["CSS", "Output"]


class CSS(EmotionModel):
    """Cross-Space Synergy (eqs. 1-10).

    `encoder` is the shared trunk θ of PGM; `fusion`, `classifier` and `heads` are task-specific.
    `probes`, with `config.probe`, are linear classifiers of single modalities, whose evidence
    counts where an utterance has no other modality. They start at zero and are not trained with the
    model: whoever fits them sets their values.

    >>> import torch
    >>> config = CSSConfig(widths={"text": 4}, labels=("joy", "anger"), d=8, heads=2, hidden=8)
    >>> model = CSS(config).eval()
    >>> batch = Batch(
    ...     features={"text": torch.randn(3, 4)},
    ...     present={"text": torch.tensor([True, True, False])},
    ...     speakers=torch.tensor([0, 1, 0]),
    ...     lengths=[3],
    ...     labels=torch.tensor([0, 1, -1]),
    ... )
    >>> model(batch).logits.shape
    torch.Size([3, 2])
    """

    config: CSSConfig

    def __init__(self, config: CSSConfig) -> None:
        super().__init__(config)
        self.encoder = Encoder(config)
        self.fusion = make_fusion(config)
        self.classifier = nn.Linear(config.d, len(config.labels))
        self.heads = nn.ModuleDict({name: _head(config) for name in config.modalities})
        self.probes = nn.ModuleDict()
        if config.probe:
            self.probes.update({name: _probe(width, config) for name, width in config.widths})

    def forward(self, batch: Batch, layout: Layout | None = None) -> Output:
        """Compute the logits of a batch. layout: see `Encoder`.

        Raises ValueError for features of another width than the model's.
        """
        present = self.present(batch)
        with recorded_calls() as calls:
            hidden = self.encoder(batch, present, layout)
        logits = self.classifier(self.fusion(hidden, present))
        if self.probes:
            logits = logits + self._evidence_of_probes(batch, present)
        unimodal = {name: head(hidden[name]) for name, head in self.heads.items()}
        return Output(logits, unimodal, hidden, present, calls=calls)

    def _evidence_of_probes(self, batch: Batch, present: dict[str, Tensor]) -> Tensor:
        """Return what the probes say, (N, c): zero where there are several modalities, or none."""
        single = torch.stack(list(present.values())).sum(0) == 1
        evidence = torch.zeros((), device=single.device)
        for name, probe in self.probes.items():
            if name in batch.features:
                alone = (present[name] & single)[:, None]
                evidence = evidence + torch.where(alone, probe(batch.features[name]), 0)
        return evidence


def _head(config: CSSConfig) -> nn.Sequential:
    """Return the classifier of one modality, a map of h̃ (N, d) to logits (N, c)."""
    return nn.Sequential(
        nn.ReLU(), nn.Dropout(config.dropout), nn.Linear(config.d, len(config.labels))
    )


def _probe(width: int, config: CSSConfig) -> nn.Linear:
    """Return a linear classifier of features (N, width) that says nothing yet."""
    layer = nn.Linear(width, len(config.labels)).requires_grad_(False)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
