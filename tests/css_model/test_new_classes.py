"""A model that starts from a trained one keeps what it knows of classes of the same name."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from css_model import CSS, Checkpoint, Normaliser, collate, freeze_trunk, transfer
from css_model.new_classes import output_layers


@pytest.fixture
def start(config, dialogue) -> Checkpoint:
    torch.manual_seed(3)
    prior = np.log(np.array([0.1, 0.2, 0.3, 0.4]))
    model = CSS(config(probe=True))
    for parameter in model.probes.parameters():
        torch.nn.init.normal_(parameter)
    return Checkpoint(model.config, model.state_dict(), Normaliser(), None, prior)


def test_the_same_classes_and_prior_give_the_same_model(start: Checkpoint, dialogue) -> None:
    batch = collate([dialogue(5, 12)])
    model = transfer(start, start.config.labels, start.log_prior, np.eye(4)).eval()
    assert torch.allclose(model(batch).logits, start.model()(batch).logits, atol=1e-6)


def test_evidence_is_that_of_the_mixture(start: Checkpoint, dialogue) -> None:
    batch, old = collate([dialogue(5, 12)]), start.config.labels
    labels = (old[2], "new", "both", old[0])
    mixture = np.array([[0, 0, 1, 0], [0, 0, 0, 0], [0, 0.5, 0, 0.5], [1, 0, 0, 0]])
    prior = np.log(np.array([0.4, 0.3, 0.2, 0.1]))
    output = transfer(start, labels, prior, mixture).eval()(batch)
    before = start.model()(batch)
    pairs = [(output.logits, before.logits)]
    pairs += [(rows, before.unimodal[name]) for name, rows in output.unimodal.items()]
    for rows, trained in pairs:
        evidence = rows.detach().numpy() - prior
        known = trained.detach().numpy() - start.log_prior
        assert np.allclose(evidence, known @ mixture.T, atol=1e-5)


def test_a_frozen_trunk_leaves_the_outputs_to_be_trained(start: Checkpoint) -> None:
    model = transfer(start, ("a", "b"), np.log([0.5, 0.5]), np.zeros((2, 4)))
    freeze_trunk(model)
    trained = {id(p) for p in model.parameters() if p.requires_grad}
    assert trained == {id(p) for layer in output_layers(model) for p in layer.parameters()}
