"""The settings that a benchmark trains each model with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from css_model import MODELS
from pipeline.core.errors import UsageError
from pipeline.training.config import Configuration, load_configuration

__all__ = ["configure"]

REFERENCE = "sdt"  # always among them: costs are relative to it


def configure(
    settings: str,
    names: Sequence[str],
    overrides: Sequence[str] = (),
    width: int | None = None,
) -> dict[str, Configuration]:
    """Return the settings of each model, and of SDT, for a corpus.

    Args:
        settings: as `load_configuration` takes them; every model has its own ones for "iemocap"
            and "meld", and smaller ones for anything else.
        overrides: strings such as "train.epochs=2". One whose key only some models have, such as
            "model.rank=4", counts for these.
        width: of every model that has one: its fields d and d_…. The number of heads is lowered to
            the largest one that divides the width.

    Raises:
        MercError: as `load_configuration`.

    >>> configs = configure("table", ["css", "mult"], ["model.rank=4"], width=32)
    >>> configs["css"].model.d, configs["css"].model.rank, configs["mult"].model.heads
    (32, 4, 8)
    """
    wanted = [name for name in MODELS if name in (*names, REFERENCE)]
    defaults = {name: load_configuration(settings, [], name) for name in wanted}
    for override in overrides:
        if not any(_has(config, override) for config in defaults.values()):
            load_configuration(settings, [override], wanted[0])  # says what is wrong
            raise UsageError(f"--set {override}: no model has this key")
    configs = {}
    for name, config in defaults.items():
        own = [override for override in overrides if _has(config, override)]
        configs[name] = load_configuration(settings, [*_widths(config.model, width), *own], name)
    return configs


def _has(config: Configuration, override: str) -> bool:
    """Say whether a model has the key of an override."""
    value: Any = config
    for part in override.partition("=")[0].split("."):
        if not hasattr(value, part):
            return False
        value = getattr(value, part)
    return True


def _widths(model: Any, width: int | None) -> list[str]:
    """Return the overrides that give a model this width."""
    if width is None:
        return []
    names = [name for name in vars(model) if name == "d" or name.startswith("d_")]
    changes = [f"model.{name}={width}" for name in names]
    heads = getattr(model, "heads", 1)
    if width % heads:
        fitting = next(count for count in range(heads, 0, -1) if width % count == 0)
        changes.append(f"model.heads={fitting}")
    return changes
