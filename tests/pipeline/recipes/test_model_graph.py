"""The network that the graph of merc-offline is made of is the model in torch."""

from __future__ import annotations

import pytest
import torch

from css_model import CSS, Batch
from pipeline.recipes.model_graph import model_graph


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("share", [0.0, 0.6, 1.0])
def test_logits_are_those_of_css(count: int, share: float) -> None:
    torch.manual_seed(0)
    network, example, free = model_graph()
    model = CSS(network.config).eval()
    model.load_state_dict(network.state_dict())
    widths = dict(network.config.widths)
    features = {name: torch.randn(count, width) for name, width in widths.items()}
    present = {name: torch.rand(count) < share for name in widths}
    speakers, labels = torch.arange(count) % 3, torch.full((count,), -1)
    inputs = features | {f"{name}_present": rows for name, rows in present.items()}
    inputs["speakers"] = speakers
    assert set(inputs) == set(example) == set(free["inputs"])
    with torch.inference_mode():
        logits = network(**inputs)
        expected = model(Batch(features, present, speakers, [count], labels)).logits
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
