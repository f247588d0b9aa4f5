"""The settings of merc finetune text."""

from __future__ import annotations

import pytest

from pipeline.core.errors import MercError
from pipeline.finetuning.config import load_settings


def test_settings_are_those_of_cosmic() -> None:
    roberta = "FacebookAI/roberta-large"
    meld, iemocap = load_settings("meld", roberta), load_settings("iemocap", roberta)
    assert (meld.train.lr, meld.model.dropout) == (1e-5, 0.1)
    assert (iemocap.train.lr, iemocap.model.dropout) == (1e-6, 0.2)
    for config in (meld, iemocap):
        train, lora = config.train, config.lora
        assert (train.epochs, train.batch, train.weight_decay) == (30, 32, 0.1)
        assert (config.model.head, train.warmup, lora.layers) == ("dense", 0.06, ["query", "value"])
    assert load_settings("meld", "minilm").model.head == "linear"


def test_bad_settings_are_named() -> None:
    for override, match in (
        ("train.lrr=1", r"did you mean train\.lr"),
        ("train.accumulate=3", "divisor"),
        ("lora.layers=[]", "lora.layers is empty"),
        ("train.warmup=2", r"train\.warmup"),
        ("model.head=round", "dense, linear"),
    ):
        with pytest.raises(MercError, match=match):
            load_settings("table", "minilm", [override])
