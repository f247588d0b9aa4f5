"""Cross-Space Synergy (CSS): encoder, polynomial fusion, three losses and their gradient weights.

Equation numbers are those of the paper. Nothing here depends on the rest of merc. Each name is
imported when it is first used: reading a checkpoint needs no torch, whose import takes seconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from css_model.batch import Batch, collate
    from css_model.checkpoint import load_checkpoint, save_checkpoint
    from css_model.config import BaseConfig, CSSConfig
    from css_model.directions import DIRECTIONS, make_modulator
    from css_model.fusion import SynergisticPolynomialFusion
    from css_model.interface import EmotionModel
    from css_model.model import CSS, Output
    from css_model.new_classes import freeze_trunk, transfer
    from css_model.normalise import Normaliser
    from css_model.objectives import inverse_frequency, losses
    from css_model.pareto import ParetoGradientModulator, min_norm_weights
    from css_model.registry import MODELS, config_class, make_model
    from css_model.stored import Checkpoint
    from css_model.weighted import WeightedSum

__all__ = [
    "CSS",
    "DIRECTIONS",
    "MODELS",
    "BaseConfig",
    "EmotionModel",
    "WeightedSum",
    "Batch",
    "CSSConfig",
    "Checkpoint",
    "Normaliser",
    "Output",
    "ParetoGradientModulator",
    "SynergisticPolynomialFusion",
    "collate",
    "config_class",
    "freeze_trunk",
    "inverse_frequency",
    "load_checkpoint",
    "losses",
    "make_model",
    "make_modulator",
    "min_norm_weights",
    "save_checkpoint",
    "transfer",
]

_NAMES = {  # module -> what it defines of `__all__`
    "batch": ("Batch", "collate"),
    "checkpoint": ("load_checkpoint", "save_checkpoint"),
    "config": ("BaseConfig", "CSSConfig"),
    "directions": ("DIRECTIONS", "make_modulator"),
    "fusion": ("SynergisticPolynomialFusion",),
    "interface": ("EmotionModel",),
    "model": ("CSS", "Output"),
    "new_classes": ("freeze_trunk", "transfer"),
    "normalise": ("Normaliser",),
    "objectives": ("inverse_frequency", "losses"),
    "pareto": ("ParetoGradientModulator", "min_norm_weights"),
    "registry": ("MODELS", "config_class", "make_model"),
    "stored": ("Checkpoint",),
    "weighted": ("WeightedSum",),
}


def __getattr__(name: str) -> Any:
    for module, names in _NAMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
