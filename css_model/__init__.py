"""Cross-Space Synergy (CSS): encoder, polynomial fusion, three losses and their gradient weights.

Equation numbers are those of the paper. Nothing here depends on the rest of merc.
"""

from css_model.batch import Batch, collate
from css_model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from css_model.config import BaseConfig, CSSConfig
from css_model.directions import DIRECTIONS, make_modulator
from css_model.fusion import SynergisticPolynomialFusion
from css_model.interface import EmotionModel
from css_model.model import CSS, Output
from css_model.normalise import Normaliser
from css_model.objectives import inverse_frequency, losses
from css_model.pareto import ParetoGradientModulator, min_norm_weights
from css_model.registry import MODELS, config_class, make_model
from css_model.transfer import freeze_trunk, transfer
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
