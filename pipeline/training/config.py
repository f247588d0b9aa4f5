"""Settings of a training: typed sections, YAML defaults per corpus, `--set section.key=value`.

The section `model` has the fields of the model's configuration, such as `css_model.CSSConfig`,
except those that the corpus decides (widths and labels), and its name.
"""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass, field, fields, make_dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from css_model import MODELS, BaseConfig, config_class
from pipeline.core.dialogue import MODALITIES
from pipeline.core.errors import MercError

__all__ = [
    "CSSTrainConfig",
    "Configuration",
    "DataConfig",
    "TrainConfig",
    "build_configuration",
    "check_values",
    "load_configuration",
    "model_section",
    "start_configuration",
    "to_yaml",
]


@dataclass
class DataConfig:
    """Which part of the corpus is used, and how."""

    modalities: list[str] = field(default_factory=lambda: list(MODALITIES))
    # corpus: z-scores over the training part
    # speaker: by the statistics of each speaker, shrunk towards those of the corpus
    # none: features as they are
    normalise_text: str = "corpus"
    normalise_audio: str = "corpus"
    normalise_visual: str = "corpus"
    # number of audio columns to keep, by the weights of a linear SVM; 0: all
    select_audio: int = 0
    # raw IEMOCAP: who sits on the left, the actor named by the dialogue (F in Ses01F), or the other
    left: str = "letter"
    # for the parts that are split off a corpus without a valid or test part
    split_seed: int = 0


@dataclass
class TrainConfig:
    """Optimisation with Adam."""

    epochs: int = 40
    lr: float = 1e-3
    batch: int = 32  # dialogues
    weight_decay: float = 1e-5
    # none; mild: frequency to the power of -1/4; inverse: frequency to the power of -1
    class_weights: str = "none"
    # decay per step of a moving average of the weights, which is then evaluated; 0: no average
    average: float = 0.0
    clip: float = 0.0  # largest norm of the gradient; 0: no limit
    bf16: str = "auto"
    device: str = "auto"
    threads: int = 0  # per seed; 0: cores / seeds at a time
    keep_seeds: bool = False  # save the model of every seed as seed-N.safetensors
    seed: int = 0  # of the first run; --seeds N trains this one and the N - 1 that follow
    # what the best epoch is chosen by on the valid part: weighted_f1, or loss (of few utterances,
    # the log loss is less noisy)
    select: str = "weighted_f1"
    patience: int = 0  # epochs without a better one after which training stops; 0: no limit


@dataclass
class CSSTrainConfig(TrainConfig):
    """The losses of CSS and how PGM weighs them. Other models have losses of their own."""

    temperature: float = 1.0  # of L3, eq. 13
    detach_teacher: bool = True  # no gradient of L3 through the fused branch
    objective: str = "pgm"
    # of L1, L2, L3; 0 switches a loss off; other values than 0 and 1 for objective static only
    weights: list[float] = field(default_factory=lambda: [1.0, 1.0, 1.0])
    literal: bool = False  # eq. 13 as printed: softmax of probabilities / T
    # parameters on which PGM compares the gradients; sketch: those of trunk, γ to about .005
    theta: str = "sketch"
    gamma: str = "raw"  # raw: γ weighs the losses (eq. 16); unit: rescaled unit gradients
    # gradient of fusion and unimodal heads: scaled by γ (eq. 16), or unscaled (Sener and Koltun)
    heads: str = "scaled"
    # with --start: labelled training utterances below which only the output layers are trained
    head_only_below: int = 0
    head_lr: float = 3e-3  # then the learning rate of these layers
    # with --start: labelled valid utterances below which valid is trained on, too; no epoch is
    # chosen then, and the weights end halfway between the start's and the trained ones
    few_below: int = 0
    few_epochs: int = 45


@dataclass
class ModelSection:
    """The section `model`; `model_section` adds the fields of a model."""

    name: str = "css"  # chosen by --model


@cache
def model_section(name: str) -> Any:
    """Return the dataclass of the section `model` for a model of `css_model.MODELS`."""
    config = config_class(name)
    hints = get_type_hints(config)
    options: list[Any] = [
        (item.name, hints[item.name], item.default)
        for item in fields(config)
        if item.name not in ("widths", "labels")
    ]
    section = make_dataclass(
        f"{SECTION}{name}", [("name", str, name), *options], bases=(ModelSection,)
    )
    section.__module__ = __name__  # with __getattr__, this makes it picklable for worker processes
    return section


SECTION = "model section "


def __getattr__(name: str) -> Any:
    if name.startswith(SECTION):
        return model_section(name.removeprefix(SECTION))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@dataclass
class Configuration:
    """All settings of a training.

    >>> load_configuration("iemocap").model.order
    3
    """

    data: DataConfig = field(default_factory=DataConfig)
    model: Any = field(default_factory=lambda: model_section("css")())
    train: Any = field(default_factory=CSSTrainConfig)  # TrainConfig for other models

    def model_config(self, widths: tuple[tuple[str, int], ...], labels: Any) -> BaseConfig:
        """Return the configuration of the model for a corpus. Raises ValueError if impossible."""
        options = {name: value for name, value in vars(self.model).items() if name != "name"}
        return config_class(self.model.name)(widths=widths, labels=labels, **options)


MAX_YAML = 100_000  # characters of a settings file
MAX_DEPTH = 16
# OmegaConf's message for a value of the wrong type, and its names of types
_NOT_CONVERTED = re.compile(
    r"(?:Value|Incompatible value) (?P<value>'.*') (?:of type '.*' could not be converted to|"
    r"is not a valid|for field of type) '?(?P<wanted>\w+)'?(?: \(type \w+\))?"
)
_TYPES = {
    "int": "a whole number",
    "integer": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "boolean": "true or false",
    "string": "a text",
    "str": "a text",
}
KEY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*){1,8}", re.ASCII)
# what OmegaConf and YAML raise for values that they cannot convert or print
WRONG_VALUES = (
    OmegaConfBaseException,
    ValueError,
    TypeError,
    OverflowError,
    AttributeError,
    KeyError,
    RecursionError,
)
CHOICES = {
    **{f"data.normalise_{m}": ("corpus", "speaker", "none") for m in MODALITIES},
    "data.left": ("letter", "other"),
    "train.class_weights": ("none", "mild", "inverse"),
    "train.bf16": ("auto", "yes", "no"),
    "train.device": ("auto", "cpu", "cuda"),
    "train.select": ("weighted_f1", "loss"),
}
CSS_CHOICES = {
    "train.objective": ("pgm", "static", "equal", "l1", "mgda", "pcgrad", "cagrad", "ada2i"),
    "train.theta": ("sketch", "trunk", "last", "repr"),
    "train.gamma": ("raw", "unit"),
    "train.heads": ("scaled", "unscaled"),
}
BOUNDS = {  # smallest, largest
    "data.split_seed": (0, 2**31),
    "data.select_audio": (0, 1 << 20),
    "train.epochs": (1, 100_000),
    "train.lr": (1e-12, 10.0),
    "train.batch": (1, 100_000),
    "train.weight_decay": (0.0, 10.0),
    "train.clip": (0.0, 1e9),
    "train.average": (0.0, 0.99999),
    "train.threads": (0, 1024),
    "train.seed": (0, 2**31),
    "train.patience": (0, 100_000),
}
CSS_BOUNDS = {
    "train.temperature": (1e-3, 1e3),
    "train.head_only_below": (0, 1_000_000_000),
    "train.head_lr": (1e-12, 10.0),
    "train.few_below": (0, 1_000_000_000),
    "train.few_epochs": (1, 100_000),
}


def load_configuration(
    settings: str, overrides: list[str] | None = None, model: str | None = None
) -> Configuration:
    """Load the default settings of a corpus and a model, and apply overrides.

    Args:
        settings: a name in configs/ ("iemocap", "meld", "offline", "synthetic", "table"), or a
            table folder: its own config.yaml, else configs/table.yaml.
        overrides: strings such as "train.epochs=2".
        model: a name of `css_model.MODELS`; default: that of the settings, else CSS. If the
            settings are for another model, only their section `data` applies, and the rest comes
            from configs/baselines/MODEL.yaml.

    Raises:
        MercError: an unknown model or key (names the closest one), or a value of the wrong type or
            out of bounds.

    >>> load_configuration("meld", ["train.lr=1e-4"]).train.lr
    0.0001
    >>> load_configuration("meld", model="sdt").model.temperature
    8.0
    """
    source, text = _read_defaults(settings)
    layers = [(source, text)]
    layer = _parse(text, source)
    of_layer = _model_name(layer)
    name = of_layer if model is None else model
    if name not in MODELS:
        place = f"{source}: model.name" if model is None else "--model"
        raise MercError(f"{place} {_short(name)}: no such model", f"choose {', '.join(MODELS)}")
    if name != of_layer:
        data = OmegaConf.to_yaml(OmegaConf.masked_copy(layer, ["data"])) if layer else "{}"
        layers = [_model_defaults(name, settings), (source, data)]
    schema = Configuration(
        model=model_section(name)(), train=CSSTrainConfig() if name == "css" else TrainConfig()
    )
    return _check(build_configuration(schema, layers, overrides or []), name)


def start_configuration(base: Configuration, overrides: list[str] | None = None) -> Configuration:
    """Load the settings to adapt a trained model: configs/adapt.yaml, and overrides.

    base: sections data and model as the model was trained.

    Raises MercError as `load_configuration` does.
    """
    text = (resources.files("configs") / "adapt.yaml").read_text("utf-8")
    layers = [("configs/adapt.yaml", text)]
    return _check(build_configuration(base, layers, overrides or []), "css")


def _model_name(layer: Any) -> str:
    name = OmegaConf.select(layer, "model.name") if isinstance(layer, DictConfig) else None
    return "css" if name is None else str(name)


def _model_defaults(model: str, settings: str) -> tuple[str, str]:
    """Return (name, text) of the settings of a model for a corpus it is known on, else "table"."""
    if model == "css":
        return "configs/table.yaml", (resources.files("configs") / "table.yaml").read_text("utf-8")
    name = f"configs/baselines/{model}.yaml"
    text = (resources.files("configs") / "baselines" / f"{model}.yaml").read_text("utf-8")
    corpus = settings if settings in ("iemocap", "meld") else "table"
    return f"{name}: {corpus}", OmegaConf.to_yaml(OmegaConf.create(yaml.safe_load(text)[corpus]))


def _read_defaults(settings: str) -> tuple[str, str]:
    """Return (name of the file, its text)."""
    packaged = resources.files("configs")
    file = Path(settings) / "config.yaml"
    if "/" not in settings and (packaged / f"{settings}.yaml").is_file():
        name = f"{settings}.yaml"
    elif file.is_file():
        try:
            return str(file), file.read_text("utf-8")
        except UnicodeDecodeError as error:
            raise MercError(f"{file}: not UTF-8 text ({error})", "save it as UTF-8") from error
    else:
        name = "table.yaml"
    return f"configs/{name}", (packaged / name).read_text("utf-8")


def to_yaml(configuration: Any) -> str:
    """Serialise settings to YAML that `load_configuration` reads from a folder's config.yaml."""
    return OmegaConf.to_yaml(OmegaConf.structured(configuration))


def build_configuration(
    schema: Any, layers: list[tuple[str, str]], overrides: list[str]
) -> DictConfig:
    """Merge a typed schema, layers of YAML and `section.key=value` overrides, the last one wins.

    schema: a dataclass or an instance of one. layers: (name for messages, text) pairs.

    Raises MercError for an unknown key (names the closest one) or a value of the wrong type.
    """
    merged = OmegaConf.structured(schema)
    for source, text in layers:
        merged = _merge(merged, _parse(text, source), source)
    for override in overrides:
        source = f"--set {_short(override)}"
        key, equals, value = override.partition("=")
        if not equals or not KEY.fullmatch(key) or len(value.splitlines()) > 1:
            raise MercError(
                f"{source}: not an assignment",
                "write section.key=value, such as train.epochs=2",
            )
        lines = [f"{'  ' * depth}{name}:" for depth, name in enumerate(key.split("."))]
        text = "\n".join(lines) + f" {value.strip()}"
        merged = _merge(merged, _parse(text, source), source)
    try:
        OmegaConf.resolve(merged)  # interpolations such as ${oc.env:LR}
    except WRONG_VALUES as error:
        raise _type_error("settings", error) from error
    return merged


def _parse(text: str, source: str) -> Any:
    """Parse YAML to an OmegaConf container, None if it holds anything but a mapping.

    Raises MercError for malformed text.
    """
    remedy = "write sections with keys, such as train: {epochs: 2}; put quotes around text"
    if len(text) > MAX_YAML:
        raise MercError(f"{source}: {len(text)} characters, too long for settings", remedy)
    depth, kinds = 0, list[bool]()
    try:
        for event in yaml.parse(text, yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):  # a few of them expand to gigabytes
                raise MercError(f"{source}: refers to another value with *{event.anchor}", remedy)
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise MercError(f"{source}: nested more than {MAX_DEPTH} deep", remedy)
            if isinstance(event, yaml.NodeEvent) and not kinds:
                empty = isinstance(event, yaml.ScalarEvent) and event.value in ("", "null", "~")
                kinds.append(empty or isinstance(event, yaml.MappingStartEvent))
        content = OmegaConf.create(text) if all(kinds) else None
        for key in OmegaConf.missing_keys(content) if content is not None else ():
            raise MercError(f"{source}: {key} is ???, which means no value", remedy)
        return content
    except MercError:
        raise
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise MercError(f"{source}: not YAML ({problem}{place})", remedy) from error
    except WRONG_VALUES as error:
        raise _type_error(source, error) from error


def check_values(
    config: DictConfig, choices: dict[str, tuple[str, ...]], bounds: dict[str, tuple[float, float]]
) -> None:
    """Raise MercError for a value that is not among its key's choices, or out of its bounds."""
    for key, allowed in choices.items():
        value = OmegaConf.select(config, key)
        if "yes" in allowed and value in ("True", "False"):  # YAML reads yes and no as booleans
            value = "yes" if value == "True" else "no"
            OmegaConf.update(config, key, value)
        if value not in allowed:
            raise MercError(
                f"{key} = {_short(value)}: unknown value", f"choose {', '.join(allowed)}"
            )
    for key, (smallest, largest) in bounds.items():
        value = OmegaConf.select(config, key)
        known = isinstance(value, (int, float)) and smallest <= value <= largest
        if not known:  # NaN too
            raise MercError(
                f"{key} = {_short(value)}: out of bounds",
                f"choose a number from {smallest} to {largest}",
            )


def _merge(base: DictConfig, extra: Any, source: str) -> DictConfig:
    if not isinstance(extra, DictConfig):
        raise MercError(
            f"{source}: not a set of sections",
            f"write the sections {', '.join(map(str, base))}, each with its keys",
        )
    known = [f"{section!s}.{key!s}" for section in base for key in base[section]]
    for name, values in extra.items():
        section = str(name)
        if section not in base:
            sections = [str(s) for s in base]
            raise MercError(f"{source}: no section {section!r}", _suggestion(section, sections))
        if not isinstance(values, DictConfig):
            raise MercError(f"{source}: section {section} has no keys", "write keys with values")
        for key in (f"{section}.{leaf!s}" for leaf in values):
            if key not in known:
                raise MercError(f"{source}: no key {key}", _suggestion(key, known))
    try:
        merged = OmegaConf.merge(base, extra)
    except WRONG_VALUES as error:
        raise _type_error(source, error) from error
    assert isinstance(merged, DictConfig)
    return merged


def _type_error(source: str, error: Exception) -> MercError:
    """Report OmegaConf's error: the key that it names on a line of its own, and the first line."""
    if isinstance(error, RecursionError):
        return MercError(f"{source}: nested too deep", "write sections with keys")
    key, lines = "", [line.strip()[:160] for line in str(error).splitlines()] or ["unusable"]
    for line in lines:
        if line.startswith("full_key: ") and line.removeprefix("full_key: ") not in source:
            key = line.removeprefix("full_key: ") + ": "
    reason = _NOT_CONVERTED.sub(_not_converted, lines[0])
    return MercError(f"{source}: {key}{reason}", "give it a value of the right type")


def _not_converted(match: re.Match[str]) -> str:
    """Say in plain words what OmegaConf says of a value of the wrong type."""
    wanted = _TYPES.get(match["wanted"].lower(), match["wanted"])
    value = "nothing" if match["value"] == "'None'" else match["value"]
    return f"{value} is not {wanted}"


def _short(value: Any) -> str:
    """Return a value as it can stand in a message. Python refuses to print huge integers."""
    if isinstance(value, int) and abs(value) > 10**60:
        return "a number of more than 60 digits"
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _suggestion(wrong: str, known: list[str]) -> str:
    """Suggest the known name that is closest, by its last part if need be; else list all names."""
    leaf = {name: name.split(".")[-1] for name in known}
    close = difflib.get_close_matches(wrong, known, 1)
    if not close:
        leaves = difflib.get_close_matches(wrong.split(".")[-1], leaf.values(), 1)
        close = [name for name in known if leaf[name] in leaves]
    return f"did you mean {close[0]}?" if close else f"choose from {', '.join(known)}"


def _check(config: DictConfig, model: str) -> Configuration:
    check_values(config, CHOICES, BOUNDS)
    modalities = list(config.data.modalities)
    repeated = any(modality in modalities[:k] for k, modality in enumerate(modalities))
    if not modalities or repeated or not all(m in MODALITIES for m in modalities):
        raise MercError(
            f"data.modalities = {modalities}: unknown, repeated or empty",
            f"choose from {', '.join(MODALITIES)}, each once",
        )
    if OmegaConf.get_type(config.train) is CSSTrainConfig:
        _check_css(config)
    result = OmegaConf.to_object(config)
    assert isinstance(result, Configuration)
    if result.model.name != model:
        raise MercError(
            f"model.name = {_short(result.model.name)}: this is the section of {model}",
            "choose the model with --model",
        )
    try:
        result.model_config((("text", 1),), ("a", "b"))
    except (ValueError, OverflowError) as error:
        raise MercError(f"model: {_short(str(error))}", "correct the section model") from error
    return result


def _check_css(config: DictConfig) -> None:
    check_values(config, CSS_CHOICES, CSS_BOUNDS)
    weights = list(config.train.weights)
    valid = all(isinstance(w, (int, float)) and 0 <= w < math.inf for w in weights)
    if len(weights) != 3 or not valid or not any(weights):
        raise MercError(
            f"train.weights = {weights}: not a weight for each loss",
            "give three numbers of 0 or more, for L1, L2, L3, not all of them 0",
        )
    if config.train.objective != "static" and not set(weights) <= {0.0, 1.0}:
        raise MercError(
            f"train.weights = {weights}: weights other than 0 and 1 need fixed weights",
            "set train.objective=static",
        )
