"""Start a model of other classes from a trained one: the encoder and the fusion stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from css_model.config import CSSConfig
from css_model.model import CSS
from css_model.stored import Checkpoint

__all__ = ["freeze_trunk", "output_layers", "transfer"]


def transfer(
    start: Checkpoint, labels: Sequence[str], log_prior: np.ndarray, mixture: np.ndarray
) -> CSS:
    """Return a trained model with outputs for other classes.

    The evidence for a class (its logit minus its log prior) is a mixture of the evidence for the
    classes of the trained model.

    log_prior: (c,), log of the label distribution that the model is going to be trained on.
    mixture: (c, classes of the start). A row with a single 1 keeps a class; a row of zeros makes
        one without evidence.

    Raises ValueError if the model is not CSS, or for a mixture of another shape.

    >>> from css_model.normalise import Normaliser
    >>> config = CSSConfig(widths={"text": 4}, labels=("joy", "anger"), d=8, heads=2, hidden=8)
    >>> state = CSS(config).state_dict()
    >>> start = Checkpoint(config, state, Normaliser(), None, np.log([0.5, 0.5]))
    >>> model = transfer(start, ("calm", "joy"), np.log([0.5, 0.5]), np.array([[0, 0], [1, 0]]))
    >>> torch.equal(model.classifier.weight[1], state["classifier.weight"][0])
    True
    """
    if not isinstance(start.config, CSSConfig):
        raise ValueError(f"only CSS can start from a trained model, not {start.config.MODEL}")
    shape = (len(labels), len(start.config.labels))
    if np.shape(mixture) != shape:
        raise ValueError(f"the mixture has shape {np.shape(mixture)}, expected {shape}")
    old = start.model()
    assert isinstance(old, CSS)
    model = CSS(replace(start.config, labels=tuple(labels)))
    model.encoder.load_state_dict(old.encoder.state_dict())
    model.fusion.load_state_dict(old.fusion.state_dict())
    mix, prior, old_prior = (
        torch.from_numpy(np.asarray(values, np.float32))
        for values in (mixture, log_prior, start.log_prior)
    )
    with torch.no_grad():
        for layer, trained in zip(output_layers(model), output_layers(old), strict=True):
            layer.weight.copy_(mix @ trained.weight)
            layer.bias.copy_(mix @ (trained.bias - old_prior) + prior)
        for name, probe in model.probes.items():
            assert isinstance(probe, nn.Linear)
            probe.weight.copy_(mix @ old.get_parameter(f"probes.{name}.weight"))
            probe.bias.copy_(mix @ old.get_parameter(f"probes.{name}.bias"))
    return model


def output_layers(model: CSS) -> list[nn.Linear]:
    """Return the layers that have one output per class: the classifier's, then the heads'."""
    layers = [model.classifier, *(head[-1] for head in model.heads.values())]  # type: ignore[index]
    return layers


def freeze_trunk(model: CSS) -> None:
    """Leave only the output layers to be trained."""
    model.requires_grad_(False)
    for layer in output_layers(model):
        layer.requires_grad_(True)
