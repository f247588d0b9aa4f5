"""The settings of a training: three typed sections, YAML defaults per corpus, `--set section.key=value`.

The section `model` is `css_model.CSSConfig` without what the data decides (widths and labels), so a field exists once.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass, field, fields, make_dataclass
from importlib import resources
from pathlib import Path
from typing import Any, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from css_model import CSSConfig
from pipeline.core.dialogue import MODALITIES

__all__ = [
    "Configuration",
    "DataConfig",
    "ModelConfig",
    "TrainConfig",
    "check_values",
    "load_configuration",
    "settle",
    "to_yaml",
]


@dataclass
class DataConfig:
    """What of the corpus is used and how it is split where it brings no split of its own."""

    modalities: list[str] = field(default_factory=lambda: list(MODALITIES))
    # corpus: z-score over the training part; speaker: by the speaker's own statistics, shrunk towards the corpus; none
    normalise_text: str = "corpus"
    normalise_audio: str = "corpus"
    normalise_visual: str = "corpus"
    select_audio: int = (
        0  # audio columns kept by L2 weights of a linear SVM of the training utterances; 0 = all
    )
    text_folds: str = ""  # a run of merc finetune text --folds: its held-out features for the training part; "" = none
    left: str = "letter"  # raw IEMOCAP: who sits left, the actor of the dialogue's letter (F in Ses01F), or other
    sessions: int = (
        -1
    )  # paired: dialogues without words in an epoch; -1 = as merc-offline is trained
    valid_share: float = 0.1  # of the training dialogues, where the corpus has no valid part
    test_share: float = 0.15  # of all dialogues, where the corpus has no test part
    split_seed: int = 0


@dataclass
class TrainConfig:
    """Optimisation.  Learning rate and weight decay are Adam's; batch counts dialogues."""

    epochs: int = 40
    lr: float = 1e-3
    batch: int = 32
    weight_decay: float = 1e-5
    temperature: float = 1.0  # of L3, eq. 13
    detach_teacher: bool = True
    objective: str = "pgm"  # pgm, static (train.weights), equal, l1, mgda, pcgrad, cagrad
    weights: list[float] = field(
        default_factory=lambda: [1.0, 1.0, 1.0]
    )  # of L1, L2, L3; 0 switches one off
    literal: bool = False  # eq. 13 as printed: softmax of probabilities / T
    theta: str = "trunk"  # trunk, last, repr: where PGM compares gradients
    gamma: str = "raw"  # raw (eq. 16) or unit (rescaled unit gradients)
    heads: str = "scaled"  # scaled (eq. 16) or unscaled (Sener and Koltun): what fusion and unimodal heads get
    class_weights: str = "none"  # none, mild (frequency to the power of -1/4), inverse (frequency)
    drop_modality: float = 0.0  # chance that a dialogue loses a modality in a training step
    average: float = 0.0  # decay per step of a moving average of the weights, which is then what is kept; 0 = none
    clip: float = 0.0  # greatest norm of the gradient; 0 = as it is
    bf16: str = "auto"  # auto, yes, no
    device: str = "auto"  # auto, cpu, cuda
    threads: int = 0  # of one seed; 0 = cores / seeds at a time
    keep_seeds: bool = False  # keep every seed's model in the run folder, as seed-N.safetensors
    seed: int = 0  # of the first seed; --seeds N takes this and the N - 1 that follow


def _model_section() -> type:
    hints = get_type_hints(CSSConfig)
    chosen: list[Any] = []
    for item in fields(CSSConfig):
        if item.name in ("widths", "labels"):
            continue
        chosen.append((item.name, hints[item.name], item.default))
    made = make_dataclass("ModelConfig", chosen)
    made.__module__ = __name__  # lets it travel to the processes of the seeds
    return made


ModelConfig: Any = _model_section()


@dataclass
class Configuration:
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


SETTINGS = {"paired": "offline"}  # corpus -> its file in configs/, where the names differ
CHOICES = {
    **{f"data.normalise_{m}": ("corpus", "speaker", "none") for m in MODALITIES},
    "data.left": ("letter", "other"),
    "train.objective": ("pgm", "static", "equal", "l1", "mgda", "pcgrad", "cagrad"),
    "train.theta": ("trunk", "last", "repr"),
    "train.gamma": ("raw", "unit"),
    "train.heads": ("scaled", "unscaled"),
    "train.class_weights": ("none", "mild", "inverse"),
    "train.bf16": ("auto", "yes", "no"),
    "train.device": ("auto", "cpu", "cuda"),
}
BOUNDS = {  # least, greatest
    "data.valid_share": (0.01, 0.5),
    "data.test_share": (0.01, 0.5),
    "data.split_seed": (0, 2**31),
    "data.select_audio": (0, 1 << 20),
    "data.sessions": (-1, 1_000_000),
    "train.epochs": (1, 100_000),
    "train.lr": (1e-12, 10.0),
    "train.batch": (1, 100_000),
    "train.weight_decay": (0.0, 10.0),
    "train.temperature": (1e-3, 1e3),
    "train.drop_modality": (0.0, 0.95),
    "train.clip": (0.0, 1e9),
    "train.average": (0.0, 0.99999),
    "train.threads": (0, 1024),
    "train.seed": (0, 2**31),
}


def load_configuration(dataset: str, overrides: list[str] | None = None) -> Configuration:
    """Defaults of a corpus (configs/NAME.yaml, FOLDER/config.yaml, else configs/table.yaml) under the overrides.

    Raises ValueError for an unknown key (naming the nearest), a value of the wrong type or out of bounds.
    """
    own = Path(dataset) / "config.yaml"
    name = SETTINGS.get(dataset, dataset)
    packaged = resources.files("configs") / f"{name}.yaml"
    try:
        if "/" not in dataset and packaged.is_file():
            source, text = f"configs/{name}.yaml", packaged.read_text("utf-8")
        elif own.is_file():
            source, text = str(own), own.read_text("utf-8")
        else:
            source, text = (
                "configs/table.yaml",
                (resources.files("configs") / "table.yaml").read_text("utf-8"),
            )
    except UnicodeDecodeError as error:
        raise ValueError(f"{own}: not UTF-8 text ({error}); save it as UTF-8") from error
    chosen = settle(Configuration, [(source, text)], overrides or [])
    return _check(chosen)


def to_yaml(configuration: Any) -> str:
    return OmegaConf.to_yaml(OmegaConf.structured(configuration))


def settle(schema: type, layers: list[tuple[str, str]], overrides: list[str]) -> DictConfig:
    """A typed configuration under layers of YAML, each (its source, its text), under `section.key=value` overrides.

    Raises ValueError for an unknown key (naming the nearest) or a value of the wrong type.
    """
    chosen = OmegaConf.structured(schema)
    for source, text in layers:
        chosen = _merge(chosen, OmegaConf.create(text), source)
    for override in overrides:
        key, equals, _ = override.partition("=")
        if not equals or "." not in key:
            raise ValueError(
                f"--set {override}: write it as section.key=value, such as train.epochs=2"
            )
        chosen = _merge(chosen, OmegaConf.from_dotlist([override]), f"--set {override}")
    return chosen


def check_values(
    chosen: DictConfig, choices: dict[str, tuple[str, ...]], bounds: dict[str, tuple[float, float]]
) -> None:
    """Raise ValueError for a value that is none of its key's choices or out of its bounds."""
    for key, known in choices.items():
        value = OmegaConf.select(chosen, key)
        if "yes" in known and value in (
            "True",
            "False",
        ):  # YAML takes the words yes and no for these
            value = "yes" if value == "True" else "no"
            OmegaConf.update(chosen, key, value)
        if value not in known:
            raise ValueError(f"{key} = {value!r}: choose {', '.join(known)}")
    for key, (least, greatest) in bounds.items():
        value = OmegaConf.select(chosen, key)
        if not (math.isfinite(value) and least <= value <= greatest):
            raise ValueError(f"{key} = {value}: want a number from {least} to {greatest}")


def _merge(base: DictConfig, extra: Any, source: str) -> DictConfig:
    if not isinstance(extra, DictConfig):
        raise ValueError(
            f"{source}: want the sections {', '.join(map(str, base))}, each with its keys"
        )
    known = [f"{section!s}.{key!s}" for section in base for key in base[section]]
    for name, values in extra.items():
        section = str(name)
        if section not in base:
            raise ValueError(
                f"{source}: no section {section!r}; {_nearest(section, [str(s) for s in base])}"
            )
        if not isinstance(values, DictConfig):
            raise ValueError(f"{source}: section {section} wants keys with values")
        for key in (f"{section}.{leaf!s}" for leaf in values):
            if key not in known:
                raise ValueError(f"{source}: no key {key}; {_nearest(key, known)}")
    try:
        merged = OmegaConf.merge(base, extra)
    except OmegaConfBaseException as error:
        raise ValueError(f"{source}: {str(error).splitlines()[0]}") from error
    assert isinstance(merged, DictConfig)
    return merged


def _nearest(wrong: str, known: list[str]) -> str:
    leaf = {name: name.split(".")[-1] for name in known}
    close = difflib.get_close_matches(wrong, known, 1) or [
        name
        for name in known
        if leaf[name] in difflib.get_close_matches(wrong.split(".")[-1], leaf.values(), 1)
    ]
    return f"did you mean {close[0]}?" if close else f"there are: {', '.join(known)}"


def _check(chosen: DictConfig) -> Configuration:
    check_values(chosen, CHOICES, BOUNDS)
    modalities = list(chosen.data.modalities)
    if (
        not modalities
        or len(set(modalities)) < len(modalities)
        or not set(modalities) <= set(MODALITIES)
    ):
        raise ValueError(
            f"data.modalities = {modalities}: choose from {', '.join(MODALITIES)}, each once"
        )
    weights = list(chosen.train.weights)
    if (
        len(weights) != 3
        or not all(math.isfinite(w) and w >= 0 for w in weights)
        or not any(weights)
    ):
        raise ValueError(
            f"train.weights = {weights}: want three numbers >= 0, of L1, L2, L3, not all 0"
        )
    if chosen.train.objective != "static" and not set(weights) <= {0.0, 1.0}:
        raise ValueError(
            f"train.weights = {weights}: only train.objective=static takes other weights than 0 and 1"
        )
    result = OmegaConf.to_object(chosen)
    assert isinstance(result, Configuration)
    return result
