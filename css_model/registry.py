"""Models by name: CSS, and the ones that it is compared with."""

from __future__ import annotations

from css_model.baselines import BASELINES, load_baseline
from css_model.config import BaseConfig, CSSConfig
from css_model.interface import EmotionModel
from css_model.model import CSS

__all__ = ["MODELS", "config_class", "make_model"]

MODELS = ("css", *BASELINES)


def config_class(name: str) -> type[BaseConfig]:
    """Return the configuration class of a model of `MODELS`.

    Raises ValueError for an unknown name.

    >>> config_class("css").__name__, config_class("sdt").__name__
    ('CSSConfig', 'SDTConfig')
    """
    if name == "css":
        return CSSConfig
    return load_baseline(name)[1]


def make_model(config: BaseConfig) -> EmotionModel:
    """Return the model that a configuration describes, with random weights.

    >>> config = config_class("sdt")(widths={"text": 4}, labels=("joy", "anger"), d=8, heads=2)
    >>> type(make_model(config)).__name__
    'SDT'
    """
    if isinstance(config, CSSConfig):
        return CSS(config)
    return load_baseline(config.MODEL)[0](config)
