"""A trained model in use: features of a dialogue in, probabilities out."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import softmax

from css_model import CSS, Normaliser, collate, load_checkpoint
from pipeline.core.dialogue import MODALITIES, Dialogue
from pipeline.core.fingerprints import profile_of

__all__ = ["PRIORS", "Predictor", "logits_of", "modality_sets", "prepare", "tempered"]

PRIORS = ("train", "uniform")
SHIPPED = "merc-offline"
FORWARD = 2048  # utterances a forward pass: bounds memory, changes no figure


def prepare(dialogue: Dialogue, widths: dict[str, int], normaliser: Normaliser) -> Dialogue:
    """The dialogue as the model reads it: its modalities only, absent ones as rows of NaN, normalised."""
    n = len(dialogue.utterances)
    features = {
        m: dialogue.features.get(m, np.full((n, width), np.nan, np.float32))
        for m, width in widths.items()
    }
    for modality, width in widths.items():
        if features[modality].shape != (n, width):
            raise ValueError(
                f"dialogue {dialogue.id}, {modality}: {features[modality].shape} where the model takes "
                f"({n}, {width}); use features from the extractor it was trained on"
            )
    return replace(dialogue, features=normaliser.apply(features, dialogue.speakers))


def modality_sets(dialogue: Dialogue) -> list[str]:
    """For each utterance the names of its present modalities, as "text+visual"; "" where there is none."""
    there = {
        m: ~np.isnan(dialogue.features[m]).any(1) for m in MODALITIES if m in dialogue.features
    }
    return [
        "+".join(m for m, rows in there.items() if rows[k]) for k in range(len(dialogue.utterances))
    ]


@torch.inference_mode()
def logits_of(model: CSS, dialogues: list[Dialogue]) -> list[np.ndarray]:
    """(n, classes) float64 logits of each prepared dialogue; the model is left in eval mode."""
    model.eval()
    device = next(model.parameters()).device
    result: list[np.ndarray] = [np.zeros((0, len(model.config.labels)))] * len(dialogues)
    order = sorted(
        (k for k, d in enumerate(dialogues) if d.utterances),
        key=lambda k: len(dialogues[k].utterances),
    )
    while order:
        taken: list[int] = []
        size = 0
        while order and (not taken or size + len(dialogues[order[-1]].utterances) <= FORWARD):
            taken.append(order.pop())
            size += len(dialogues[taken[-1]].utterances)
        batch = collate([dialogues[k] for k in taken]).to(device)
        rows = model(batch).logits.double().cpu().numpy()
        ends = np.cumsum([len(dialogues[k].utterances) for k in taken])[:-1]
        for k, part in zip(taken, np.split(rows, ends), strict=True):
            result[k] = part
    return result


def tempered(
    logits: np.ndarray, log_prior: np.ndarray, temperature: float | np.ndarray
) -> np.ndarray:
    """The evidence divided by the temperature, the prior left as it is: under a uniform prior no label changes."""
    return log_prior + (logits - log_prior) / temperature


class Predictor:
    """A model with its normaliser, prior and temperatures."""

    def __init__(self, checkpoint: Any, name: str, device: str = "cpu") -> None:
        self.name = name
        self.checkpoint = checkpoint
        self.labels: tuple[str, ...] = tuple(checkpoint.config.labels)
        self.widths: dict[str, int] = (
            dict(checkpoint.config.widths) | checkpoint.normaliser.inputs
        )  # as extracted
        self.fingerprints: dict[str, dict[str, Any]] | None = checkpoint.fingerprints
        self.profile = profile_of(self.fingerprints)
        self.model = CSS(checkpoint.config)
        self.model.load_state_dict(checkpoint.state)
        self.model.to(device).eval()

    @classmethod
    def load(cls, source: str | Path, device: str = "cpu") -> Predictor:
        """From a run folder, a model file, or the name of the model that ships.

        Raises FileNotFoundError or ValueError with what to do.
        """
        with ExitStack() as stack:
            if str(source) == SHIPPED and not Path(source).exists():
                packaged = resources.files("css_model") / "weights" / f"{SHIPPED}.safetensors"
                path, name = stack.enter_context(resources.as_file(packaged)), SHIPPED
            else:
                path = Path(source)
                if path.is_dir():
                    path = path / "model.safetensors"
                name = path.parent.resolve().name if path.name == "model.safetensors" else path.stem
            if not path.is_file():
                raise FileNotFoundError(
                    f"{path}: no such model; name a run folder of merc train (finished: it has "
                    f"model.safetensors), a model file, or {SHIPPED}"
                )
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            return cls(load_checkpoint(path), f"{name}@{digest[:12]}", device)

    def check(self, fingerprints: dict[str, dict[str, Any]] | None, *, known: bool = True) -> None:
        """Refuse features that this model was not trained on.

        known: origin unknown, on either side, is refused too (labelling); else only what is known is compared.
        Raises ValueError with the difference and the remedy.
        """
        if self.fingerprints is None or fingerprints is None:
            if known:
                raise ValueError(
                    f"{self.name} was trained on features of unknown origin (its table has no fingerprints.json), so "
                    "no video can be given the same; export a table with `merc store export` and train on that"
                )
            return
        published = [
            m for m, made in self.fingerprints.items() if made.get("extractor") == "published"
        ]
        if known and published:
            raise ValueError(
                f"{self.name} was trained on published {', '.join(published)} features, whose recipe was never "
                "released, so no video can be given the same; label with merc-offline, or train on features of "
                "`merc extract`. `merc evaluate` reads it"
            )
        for modality, made in fingerprints.items():
            trained = self.fingerprints.get(modality)
            if trained is not None and _essential(trained) != _essential(made):
                different = [k for k in sorted({*trained, *made}) if trained.get(k) != made.get(k)]
                raise ValueError(
                    f"{self.name} was trained on other {modality} features: "
                    + "; ".join(
                        f"{k} {_short(trained.get(k))} in training, {_short(made.get(k))} here"
                        for k in different
                    )
                    + f". Extract with the extractor of its training (profile {self.profile}), or train anew on these"
                )

    def check_widths(self, widths: dict[str, int]) -> None:
        """Refuse a table whose widths differ, or that has none of the model's modalities."""
        for modality, width in widths.items():
            if modality in self.widths and self.widths[modality] != width:
                raise ValueError(
                    f"{self.name} takes {modality} features of width {self.widths[modality]}, these have {width}: "
                    f"another extractor made them. Extract with profile {self.profile}, or train on these"
                )
        if not set(widths) & set(self.widths):
            raise ValueError(
                f"{self.name} reads {', '.join(self.widths)}; here is only {', '.join(widths)}"
            )

    def probabilities(self, dialogue: Dialogue, prior: str = "train") -> np.ndarray:
        """(n, classes) float64, rows sum to 1.

        prior "uniform" divides by the class frequencies of the training.  An utterance without any feature gets the
        prior itself (`modality_sets` tells which those are).
        """
        if prior not in PRIORS:
            raise ValueError(f"no prior {prior!r}; choose {' or '.join(PRIORS)}")
        if not dialogue.utterances:
            return np.zeros((0, len(self.labels)))
        ready = prepare(dialogue, self.widths, self.checkpoint.normaliser)
        sets = modality_sets(ready)
        heat = np.array([self.checkpoint.temperatures.get(s, 1.0) for s in sets])
        log_prior = np.asarray(self.checkpoint.log_prior, np.float64)
        scores = tempered(logits_of(self.model, [ready])[0], log_prior, heat[:, None])
        scores[[not s for s in sets]] = log_prior
        return softmax(scores - log_prior if prior == "uniform" else scores, axis=1)


def _essential(fingerprint: dict[str, Any]) -> dict[str, Any]:
    """Without the face detector, which differs between platforms and leaves the vector of a face as it is."""
    options = {k: v for k, v in fingerprint.get("options", {}).items() if k != "detector"}
    return fingerprint | {"options": options}


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
