"""The models that the paper compares CSS with, each in one file, written from its paper.

Every one reads a packed `Batch` and returns an `Output`, as CSS does. A missing feature is a mask.
"""

from __future__ import annotations

from importlib import import_module

from css_model.baselines.baseline import Baseline
from css_model.config import BaseConfig

__all__ = ["BASELINES", "Baseline", "load_baseline"]

BASELINES = {  # name -> class, in the module of that name (mm-dfn: mm_dfn); its config: …Config
    "sdt": "SDT",
    "graphsmile": "GraphSmile",
    "mmgcn": "MMGCN",
    "mm-dfn": "MMDFN",
    "dialoguernn": "DialogueRNN",
    "dialoguegcn": "DialogueGCN",
    "cfn-esa": "CFNESA",
    "m3net": "M3NET",
    "ada2i": "Ada2I",
    "haucl": "HAUCL",
    "mpt-hcl": "MPTHCL",
    "cmn": "CMN",
    "icon": "ICON",
    "mult": "MulT",
    "misa": "MISA",
    "mfn": "MFN",
}


def load_baseline(name: str) -> tuple[type[Baseline], type[BaseConfig]]:
    """Import a model of `BASELINES`; return its class and that of its configuration.

    Raises ValueError for an unknown name.
    """
    if name not in BASELINES:
        raise ValueError(f"unknown model {name!r}; choose css, {', '.join(BASELINES)}")
    module = import_module(f"{__name__}.{name.replace('-', '_')}")
    return getattr(module, BASELINES[name]), getattr(module, f"{BASELINES[name]}Config")
