"""The dimensions and options that rebuild a model from its checkpoint."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, TypeVar

from css_model.speakers import SPEAKER_ROWS

__all__ = ["BaseConfig", "CSSConfig", "SpeakerConfig"]

# limits, so that a forged checkpoint cannot allocate any amount of memory
_LIMITS = {
    "d": 16384,
    "heads": 256,
    "hidden": 65536,
    "layers": 48,
    "order": 16,
    "rank": 8192,
    "speakers": 65536,
    "window": 100_000,
}
_LIMIT = 4096  # of other whole numbers
_MAX_WIDTH = 1 << 20
_MAX_LABELS = 100_000


Config = TypeVar("Config", bound="BaseConfig")


@dataclass(frozen=True)
class BaseConfig:
    """What the configuration of every model has. A subclass adds its dimensions and options.

    widths: (modality, feature width) pairs, in a fixed order.
    labels: class names, in the order of the logits.

    Fields of a subclass are whole numbers from 1 on, numbers from 0 on (dropout: below 1), true or
    false, or one of `CHOICES`.

    Raises ValueError with the name of the field for values out of range.
    """

    MODEL: ClassVar[str]  # the name in `css_model.registry`
    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {}

    widths: tuple[tuple[str, int], ...]
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        widths = self.widths.items() if isinstance(self.widths, Mapping) else self.widths
        object.__setattr__(self, "widths", tuple((str(name), width) for name, width in widths))
        object.__setattr__(self, "labels", tuple(self.labels))
        self._check_widths()
        self._check_labels()
        for item in fields(self)[2:]:
            choices = {"speaker_rows": SPEAKER_ROWS} | self.CHOICES
            _check_value(item.name, str(item.type), getattr(self, item.name), choices)
        d, heads = getattr(self, "d", 1), getattr(self, "heads", 1)
        if d % heads:
            raise ValueError(f"d ({d}) must be a multiple of heads ({heads})")

    def _check_widths(self) -> None:
        if not self.widths or len(dict(self.widths)) != len(self.widths):
            raise ValueError(
                f"widths must name at least one modality, and each only once: {self.widths}"
            )
        for name, width in self.widths:
            if not name.isidentifier() or not _is_count(width, _MAX_WIDTH):
                raise ValueError(
                    f"widths: {name!r} must be an identifier with a width of 1 to {_MAX_WIDTH}, "
                    f"not {width!r}"
                )

    def _check_labels(self) -> None:
        count = len(self.labels)
        if not 2 <= count <= _MAX_LABELS or len(set(self.labels)) != count:
            raise ValueError(f"labels must be at least two different names: {self.labels[:10]}")
        if not all(isinstance(label, str) for label in self.labels):
            raise ValueError(f"labels must be text: {self.labels[:10]}")
        for label in self.labels:
            if not label or any(map(_is_control, label)):
                raise ValueError(f"label {label!r} is empty or has control characters")

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.widths)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields (JSON-able)."""
        widths = [list(pair) for pair in self.widths]
        return asdict(self) | {"widths": widths, "labels": list(self.labels)}

    @classmethod
    def from_dict(cls: type[Config], values: Mapping[str, Any]) -> Config:
        """Read what `to_dict` returned.

        Raises ValueError for unknown or missing fields and for values out of range.
        """
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(f"unknown model fields: {', '.join(unknown)}")
        if not {"widths", "labels"} <= set(values):
            raise ValueError("a model needs the fields widths and labels")
        try:
            return cls(**values)
        except (TypeError, OverflowError) as error:
            raise ValueError(f"malformed model fields: {error}") from error


@dataclass(frozen=True)
class SpeakerConfig(BaseConfig):
    """The configuration of a model that numbers the speakers of a dialogue.

    speaker_rows: their numbers: in the order of appearance ("appearance"), or 0 for M and 1 for F
        ("gender"; IEMOCAP names its speakers so). See `css_model.collate`.
    """

    speaker_rows: str = field(default="appearance", kw_only=True)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields (JSON-able); without the default of `speaker_rows`, as ever."""
        values = super().to_dict()
        if self.speaker_rows == "appearance":
            del values["speaker_rows"]
        return values


@dataclass(frozen=True)
class CSSConfig(SpeakerConfig):
    """Dimensions and options of a model. The defaults are the paper's for IEMOCAP.

    widths: (modality, feature width) pairs, in a fixed order.
    labels: class names, in the order of the logits.
    d: width of the shared space.
    heads, hidden, layers: of each stack of encoder blocks; hidden is the feed-forward width.
    dropout: in the encoder blocks and the unimodal heads.
    feature_dropout: share of the standardised feature values set to zero in training, before the
        projection. The paper has none; small corpora benefit from it.
    order, rank: p and r of eqs. 7-9.
    speakers: rows of the speaker table. The i-th speaker to appear in a dialogue uses row i modulo
        `speakers`. 3 serves the two of IEMOCAP with one to spare, as in SDT; corpora with larger
        groups need more.
    speaker_rows: "appearance", or "gender" for M and F in rows 0 and 1.
    fusion: "spf" or one of `css_model.comparators`.
    modality_specific: False means one W_j for all modalities and no static gate ("without MSP").
    mae, iae: False removes the modality-aware (eq. 2) or interaction-aware encoder (eqs. 3-5).
    iae_input: the h of eqs. 3-5: the output of the modality-aware encoder ("serial") or its input
        ("parallel").
    gate: eq. 3 with a d×d matrix per gated modality ("matrix"), per ordered pair ("pair"), or with
        one number per gated modality ("scalar").
    probe: True adds a linear map of the features to the logits of an utterance that has nothing but
        this modality. The paper has none; training leaves it at zero, see `CSS`.

    Raises ValueError with the name of the field for values out of range.

    >>> config = CSSConfig(widths={"text": 384, "audio": 1582}, labels=("joy", "anger"), d=64)
    >>> config.modalities, config.order, config.rank
    (('text', 'audio'), 3, 16)
    >>> CSSConfig.from_dict(config.to_dict()) == config
    True
    """

    MODEL: ClassVar[str] = "css"
    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {
        "fusion": ("spf", "concat", "mlp", "lmf", "mlb", "mfb", "ptp", "gate"),
        "iae_input": ("serial", "parallel"),
        "gate": ("matrix", "pair", "scalar"),
    }

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
    probe: bool = False


def _check_value(
    name: str, kind: str, value: object, choices: Mapping[str, tuple[str, ...]]
) -> None:
    """Raise ValueError unless the value of a field has its type and range."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "int":
        limit = _LIMITS["layers"] if name.endswith("layers") else _LIMITS.get(name, _LIMIT)
        if not _is_count(value, limit):
            raise ValueError(f"{name} must be a whole number from 1 to {limit}, not {value!r}")
    elif kind == "float" and name.endswith("dropout"):
        if not number or not 0 <= value < 1:  # type: ignore[operator]
            raise ValueError(f"{name} must be in [0, 1), not {value!r}")
    elif kind == "float":
        if not number or not 0 <= value <= 1e6:  # type: ignore[operator]
            raise ValueError(f"{name} must be a number from 0 to 1e6, not {value!r}")
    elif kind == "str" and value not in choices[name]:
        raise ValueError(f"{name} must be one of {', '.join(choices[name])}, not {value!r}")
    elif kind == "bool" and not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, not {value!r}")


def _is_count(value: object, limit: int) -> bool:
    return (
        isinstance(value, int)
        and not isinstance(value, bool)
        and 1 <= value <= limit
        and math.isfinite(value)
    )


def _is_control(c: str) -> bool:
    """Say whether a terminal obeys a character (overrides of direction too) or cannot write it."""
    return unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(c) in (
        *("LRE", "RLE", "LRO", "RLO", "PDF"),
        *("LRI", "RLI", "FSI", "PDI"),
    )
