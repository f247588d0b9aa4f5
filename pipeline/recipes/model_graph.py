"""The model that ships as a network for `pipeline.recipes.graphs`: one dialogue in, logits out."""

from __future__ import annotations

from importlib import resources
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from css_model import CSS, Batch, CSSConfig, load_checkpoint
from css_model.encoder import Layout
from pipeline.training.predictor import SHIPPED

__all__ = ["DialogueModel", "model_graph"]


def model_graph() -> tuple[DialogueModel, dict[str, Tensor], dict[str, Any]]:
    """Return the model that ships, example inputs, and their free dimensions."""
    packaged = resources.files("css_model") / "weights" / f"{SHIPPED}.safetensors"
    with resources.as_file(packaged) as path:
        checkpoint = load_checkpoint(path)
    assert isinstance(checkpoint.config, CSSConfig)
    model = DialogueModel(checkpoint.config)
    model.load_state_dict(checkpoint.state)
    inputs = {"speakers": torch.zeros(3, dtype=torch.long)}
    for name, width in checkpoint.config.widths:
        inputs |= {name: torch.zeros(3, width), f"{name}_present": torch.ones(3, dtype=torch.bool)}
    count = torch.export.Dim("utterances")
    free = {"inputs": {name: {0: count} for name in inputs}}
    return model.requires_grad_(False).eval(), inputs, free


class DialogueModel(CSS):
    """CSS for a single dialogue, of any length, without branches that depend on values.

    Its inputs are `speakers` (N,) int64, and for each modality its features (N, width) and
    `<modality>_present` (N,) bool. It returns the logits, (N, c).
    """

    def forward(self, **inputs: Tensor) -> Tensor:  # type: ignore[override]
        speakers, names = inputs["speakers"], self.config.modalities
        batch = Batch(
            {name: inputs[name] for name in names},
            {name: inputs[f"{name}_present"] for name in names},
            speakers,
            [speakers.shape[0]],
            torch.full_like(speakers, -1),
        )
        return super().forward(batch, _OneDialogue()).logits

    def present(self, batch: Batch) -> dict[str, Tensor]:
        """Return modality -> (N,) bool; a graph fixes the widths."""
        return batch.present


class _OneDialogue(Layout):
    """The layout of a single dialogue. Attention masks rows, since it cannot select them."""

    def __init__(self) -> None:
        pass

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, usable: Tensor, heads: int
    ) -> Tensor:
        q, k, v = (x.unflatten(1, (heads, -1)).transpose(0, 1)[None] for x in (query, key, value))
        any_key = usable.any()
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=(usable | ~any_key)[None, :])
        return torch.where(any_key, out[0].transpose(0, 1).flatten(1), 0)

    def any(self, rows: Tensor) -> Tensor:
        return rows.any().expand_as(rows)
