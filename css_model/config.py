"""The dimensions and open points that rebuild a CSS model from its checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

__all__ = ["CSSConfig"]

_CHOICES = {
    "fusion": ("spf", "concat", "mlp", "lmf", "mfb", "ptp", "gate"),
    "iae_input": ("serial", "parallel"),
    "gate": ("matrix", "pair", "scalar"),
}
# largest sensible sizes: a forged checkpoint must not make us allocate without end
_RANGES = {
    "d": 16384,
    "heads": 256,
    "hidden": 65536,
    "layers": 48,
    "order": 16,
    "rank": 8192,
    "speakers": 65536,
}


@dataclass(frozen=True)
class CSSConfig:
    """What rebuilds the model; the defaults are the paper's IEMOCAP setting.

    widths: (modality, feature width) pairs in a fixed order.  labels: class names, index = logit.
    d: width of the shared space.  heads, hidden (feed-forward width), layers: of each encoder block stack.
    order, rank: p and r of eqs. 7-9.  speakers: rows of the speaker table; the i-th speaker to appear in a dialogue
    takes row i modulo `speakers` (3 = the two of IEMOCAP and a spare one, as in SDT's program; give corpora with
    larger groups more).
    feature_dropout: share of the (standardised) feature values hidden in training, before the projection; the paper
    has none, small corpora gain by it.
    fusion: `spf` or a comparator.  modality_specific: False = one W_j for all modalities and no static gate
    ("without MSP").  mae, iae: False removes that encoder.  iae_input: what eqs. 3-5 call h, the output of the
    modality-aware encoder (`serial`) or its input (`parallel`).  gate: eq. 3 with a d×d matrix per gated modality,
    per ordered pair, or a scalar per gated modality.
    """

    widths: tuple[tuple[str, int], ...]
    labels: tuple[str, ...]
    d: int = 1024
    heads: int = 8
    hidden: int = 1024
    layers: int = 1
    dropout: float = 0.5
    feature_dropout: float = 0.0
    order: int = 3
    rank: int = 16
    speakers: int = 3
    fusion: str = "spf"
    modality_specific: bool = True
    mae: bool = True
    iae: bool = True
    iae_input: str = "serial"
    gate: str = "matrix"

    def __post_init__(self) -> None:
        """Raises ValueError naming the field."""
        widths = self.widths.items() if isinstance(self.widths, Mapping) else self.widths
        object.__setattr__(self, "widths", tuple((str(name), width) for name, width in widths))
        object.__setattr__(self, "labels", tuple(self.labels))
        if not self.widths or len(dict(self.widths)) != len(self.widths):
            raise ValueError(
                f"widths must name each modality once, and at least one: {self.widths}"
            )
        for name, width in self.widths:
            if not name.isidentifier() or not _is_count(width, 1 << 20):
                raise ValueError(
                    f"widths: {name!r} needs a plain name and a width of 1 to {1 << 20}, not {width!r}"
                )
        if (
            len(self.labels) < 2
            or len(set(self.labels)) != len(self.labels)
            or len(self.labels) > 100_000
        ):
            raise ValueError(f"labels must be at least two different names: {self.labels[:10]}")
        if not all(isinstance(label, str) for label in self.labels):
            raise ValueError(f"labels must be text: {self.labels[:10]}")
        for field, largest in _RANGES.items():
            if not _is_count(getattr(self, field), largest):
                raise ValueError(
                    f"{field} must be a whole number from 1 to {largest}, not {getattr(self, field)!r}"
                )
        if self.d % self.heads:
            raise ValueError(f"d ({self.d}) must be a multiple of heads ({self.heads})")
        for field in ("dropout", "feature_dropout"):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
                raise ValueError(f"{field} must lie in [0, 1), not {value!r}")
        for field, choices in _CHOICES.items():
            if getattr(self, field) not in choices:
                raise ValueError(
                    f"{field} must be one of {', '.join(choices)}, not {getattr(self, field)!r}"
                )
        for field in ("modality_specific", "mae", "iae"):
            if not isinstance(getattr(self, field), bool):
                raise ValueError(f"{field} must be true or false, not {getattr(self, field)!r}")

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.widths)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; `from_dict` reads it back."""
        return asdict(self) | {
            "widths": [list(pair) for pair in self.widths],
            "labels": list(self.labels),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CSSConfig:
        """Raises ValueError for unknown or missing fields and for values out of range."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"unknown model fields: {', '.join(unknown)}")
        if not {"widths", "labels"} <= set(values):
            raise ValueError("a model needs the fields widths and labels")
        try:
            return cls(**values)
        except (TypeError, OverflowError) as error:
            raise ValueError(f"malformed model fields: {error}") from error


def _is_count(value: object, largest: int) -> bool:
    return (
        isinstance(value, int)
        and not isinstance(value, bool)
        and 1 <= value <= largest
        and math.isfinite(value)
    )
