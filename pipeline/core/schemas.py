"""What the JSON files of tables, runs and encoders hold: one schema for each, checked when read.

A file of another shape is reported by its name, the place in it, and what is wrong there.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from pipeline.core.control_characters import has_control_characters
from pipeline.core.errors import MercError

__all__ = [
    "About",
    "EncoderAbout",
    "FaceNetAbout",
    "Fingerprints",
    "Finite",
    "History",
    "Metrics",
    "Settings",
    "UpdateAbout",
    "check_json",
    "parse_json",
    "read_json",
]

MAX_BYTES = 256 << 20  # metrics.json of a large corpus has a few MB
MAX_DIGITS = 100  # of a number


def _printable(text: str) -> str:
    if has_control_characters(text):
        raise ValueError(f"{text!r} has control characters")
    return text


def _distinct(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("a name is repeated")
    return names


Name = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_printable)]
Labels = Annotated[list[Name], AfterValidator(_distinct)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


class _Schema(BaseModel):
    """Types are not converted ("1" is no number); fields that are not named here are allowed."""

    model_config = ConfigDict(strict=True, extra="allow")


class About(_Schema):
    """table.json."""

    name: Name | None = None
    labels: Labels | None = None
    notes: list[str] = []
    written: list[str] = []


class Fingerprint(_Schema):
    """What made the features of one modality."""

    extractor: str | None = None
    options: dict[str, Any] = {}


Fingerprints = dict[str, Fingerprint]  # modality -> what made its features


class Figure(_Schema):
    """A figure over seeds."""

    mean: Finite
    sd: Finite


class Metrics(_Schema):
    """What `merc compare` and a resumed `merc train` need of metrics.json."""

    labels: Labels
    protocol: str
    weighted_f1: Figure
    identity: str | None = None


class Settings(_Schema):
    """settings.json of an unfinished run, and the identity in any metrics.json."""

    identity: str | None = None


class History(_Schema):
    """history.json of one seed of a run."""

    best_epoch: Count
    epochs: list[dict[str, Any]]


class EncoderAbout(_Schema):
    """merc.json beside a text encoder."""

    pooling: Literal["first", "mean"]
    cleaning: Literal["quotes", "cosmic"]


class UpdateAbout(EncoderAbout):
    """The header of low-rank updates of a text encoder."""

    base: str
    weights: str
    scale: Finite


class FaceNetAbout(BaseModel):
    """The header of a face network."""

    model_config = ConfigDict(strict=True, extra="forbid")

    size: Annotated[int, Field(ge=16, le=1024)] = 64
    mean: Finite = 0.5
    std: Annotated[Finite, Field(gt=0)] = 0.25


def read_json(path: Path, schema: Any, remedy: str = "correct or delete it") -> Any:
    """Read a JSON file and check it against a schema; return the plain content.

    Raises MercError naming the file and what is wrong, OSError if it cannot be read.

    >>> Path("table.json").write_text('{"labels": ["joy", 3]}') > 0
    True
    >>> read_json(Path("table.json"), About)
    Traceback (most recent call last):
    ...
    pipeline.core.errors.MercError: table.json: labels, item 2: Input should be a valid string; \
correct or delete it
    """
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        raise MercError(f"{path}: {path.stat().st_size} bytes, too large for its kind", remedy)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MercError(f"{path}: not UTF-8 ({error})", remedy) from error
    return parse_json(text, schema, str(path), remedy)


def parse_json(text: str, schema: Any, source: str, remedy: str = "correct or delete it") -> Any:
    """Parse JSON text and check it against a schema; return the plain content.

    source: names the text in messages. Raises MercError.
    """
    try:
        content = json.loads(
            text, parse_constant=_refuse_constant, parse_int=_whole, parse_float=_finite
        )
    except RecursionError as error:
        raise MercError(f"{source}: not JSON (nested too deep)", remedy) from error
    except ValueError as error:
        raise MercError(f"{source}: not JSON ({error})", remedy) from error
    check_json(content, schema, source, remedy)
    return content


def check_json(
    content: Any, schema: Any, source: str, remedy: str = "correct or delete it"
) -> None:
    """Raise MercError unless parsed JSON fits a schema."""
    try:
        TypeAdapter(schema).validate_python(content, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = "".join(f"{_place(part)}, " for part in first["loc"])[:-2]
        place = f"{place}: " if place else ""
        message = first["msg"].removeprefix("Value error, ")
        if "model_type" in first["type"] or first["type"] == "dict_type":
            message = "not a JSON object"
        elif first["type"] == "missing":
            message = "missing"
        raise MercError(f"{source}: {place}{message}", remedy) from error


def _place(part: int | str) -> str:
    return f"item {part + 1}" if isinstance(part, int) else str(part)[:100]


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"it holds the number {name}")


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"it holds a number of {len(digits)} digits")
    return int(digits)


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"it holds the number {digits[:20]}, which is too large")
    return number
