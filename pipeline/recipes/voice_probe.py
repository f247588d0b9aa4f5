"""Give merc-offline a linear classifier of voices, for utterances that have nothing else.

The network learns from voices beside words and faces, many of them wrong on purpose. A logistic
regression on all single clips knows other things: together, they label more voices of unseen actors
correctly than either does (docs/merc-offline.md).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from css_model import Checkpoint, CSSConfig
from pipeline.recipes.measure_on_corpus import normalised_voices
from pipeline.recipes.paired import PairedCorpus
from pipeline.training.calibration import fit_temperatures
from pipeline.training.predictor import Predictor, prepare

__all__ = ["with_voice_probe"]

SHARE = 0.25  # of the evidence; .2 to .5 differ by chance
STRENGTH = 0.01  # C of the regression, that of `linear_probe`


def with_voice_probe(checkpoint: Checkpoint, corpus: PairedCorpus) -> Checkpoint:
    """Return a model of the paired corpus with a fitted `CSSConfig.probe` of voices.

    Where there is nothing but a voice, its evidence is three parts that of the network, divided by
    its temperature, and one part that of the regression. The temperature is fitted anew.

    Raises ValueError if the model is not CSS.
    """
    from sklearn.linear_model import LogisticRegression

    if not isinstance(checkpoint.config, CSSConfig):
        raise ValueError(f"only CSS can have a probe, not {checkpoint.config.MODEL}")
    assert corpus.voices is not None
    network = Predictor(checkpoint, "network")
    train = corpus.voices.without(corpus.held_out)
    versions = train.vectors.shape[1]
    rows = np.concatenate(
        [normalised_voices(network, train.vectors[:, k]) for k in range(versions)]
    )
    labels = np.tile(train.labels, versions)
    regression = LogisticRegression(C=STRENGTH, max_iter=400).fit(rows, labels)
    # without how frequent emotions are in the clips; all of MELD's occur
    bias = regression.intercept_ - np.log(np.bincount(labels) / len(labels))
    # up to a constant, network / temperature * (1 - SHARE) + regression * SHARE
    factor = SHARE / (1 - SHARE) * checkpoint.temperatures.get("audio", 1.0)
    config = replace(checkpoint.config, probe=True)
    probes = {
        f"probes.{name}.{part}": torch.zeros(shape)
        for name, width in config.widths
        for part, shape in (("weight", (len(config.labels), width)), ("bias", len(config.labels)))
    }
    probes["probes.audio.weight"] = torch.tensor(factor * regression.coef_, dtype=torch.float32)
    probes["probes.audio.bias"] = torch.tensor(factor * bias, dtype=torch.float32)
    result = replace(checkpoint, config=config, state=checkpoint.state | probes)
    predictor = Predictor(result, "with probe")
    valid = [
        prepare(dialogue, predictor.widths, checkpoint.normaliser)
        for dialogue in corpus.dialogues
        if dialogue.split == "valid"
    ]
    fitted = fit_temperatures(predictor.model, valid, checkpoint.log_prior)
    return replace(result, temperatures=checkpoint.temperatures | {"audio": fitted["audio"]})
