"""Use a trained model: features of a dialogue in, probabilities out."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from css_model.normalise import Normaliser
from css_model.speakers import number_speakers
from css_model.stored import Checkpoint, read_checkpoint
from pipeline.core.dialogue import MODALITIES, Dialogue
from pipeline.core.errors import MercError, UsageError
from pipeline.core.fingerprints import profile_of, sha256_of
from pipeline.core.softmax import softmax
from pipeline.core.weights import check_weights
from pipeline.training.graph_model import GraphModel

if TYPE_CHECKING:
    from css_model import EmotionModel

__all__ = [
    "PRIORS",
    "SHIPPED",
    "WINDOW",
    "Predictor",
    "Window",
    "apply_temperature",
    "check_speaker_rows",
    "compute_logits",
    "keep_modalities",
    "modality_sets",
    "prepare",
    "windows",
]

PRIORS = ("auto", "train", "uniform")
SHIPPED = "merc-offline"
# utterances that the model sees at once; the longest dialogue of IEMOCAP has 110, of MELD 33
WINDOW = 128


def prepare(dialogue: Dialogue, widths: dict[str, int], normaliser: Normaliser) -> Dialogue:
    """Keep the modalities of `widths`, add missing ones as rows of NaN, and normalise.

    Raises MercError for features of another shape.
    """
    n = len(dialogue.utterances)
    features = {}
    for modality, width in widths.items():
        missing = np.full((n, width), np.nan, np.float32)
        rows = features[modality] = dialogue.features.get(modality, missing)
        if rows.shape != (n, width):
            raise MercError(
                f"dialogue {dialogue.id}, {modality}: features of shape {rows.shape}, but the "
                f"model takes ({n}, {width})",
                "use features from the extractor that the model was trained with",
            )
    return replace(dialogue, features=normaliser.apply(features, dialogue.speakers))


def check_speaker_rows(dialogues: Collection[Dialogue], rows: str) -> None:
    """Raise MercError unless the speakers can be numbered by `model.speaker_rows`."""
    for dialogue in dialogues:
        try:
            number_speakers(dialogue.speakers, rows)
        except ValueError as error:
            raise MercError(
                f"model.speaker_rows={rows}: {error} in dialogue {dialogue.id}",
                "leave it at appearance; the files of IEMOCAP alone name speakers M and F",
            ) from error


def keep_modalities(dialogue: Dialogue, visible: Collection[str]) -> Dialogue:
    """Return the dialogue with the features of all other modalities missing."""
    features = {
        modality: rows if modality in visible else np.full_like(rows, np.nan)
        for modality, rows in dialogue.features.items()
    }
    return replace(dialogue, features=features)


def modality_sets(dialogue: Dialogue) -> list[str]:
    """Name the present modalities of every utterance.

    Returns one string per utterance, such as "text+visual"; "" if all modalities are missing.
    """
    present = {
        m: ~np.isnan(dialogue.features[m]).any(1) for m in MODALITIES if m in dialogue.features
    }
    return [
        "+".join(modality for modality, rows in present.items() if rows[k])
        for k in range(len(dialogue.utterances))
    ]


def compute_logits(model: EmotionModel | GraphModel, dialogues: list[Dialogue]) -> list[np.ndarray]:
    """Return the (n, classes) float64 logits of each prepared dialogue.

    A dialogue of more than `WINDOW` utterances is read in windows of so many that overlap by half.
    Each utterance is taken from the window in whose middle it is. A model in torch is in eval mode
    afterwards.
    """
    spans = [windows(len(dialogue.utterances)) for dialogue in dialogues]
    parts = [
        dialogue.part(span.start, span.end) if len(own) > 1 else dialogue
        for dialogue, own in zip(dialogues, spans, strict=True)
        for span in own
    ]
    rows = iter(_logits_of(model, parts))
    return [
        np.concatenate(
            [next(rows)[span.first - span.start : span.last - span.start] for span in own]
        )
        for own in spans
    ]


@dataclass(frozen=True)
class Window:
    """Utterances from `start` to `end`, of which those from `first` to `last` are used."""

    start: int
    end: int
    first: int
    last: int


def windows(count: int, size: int = WINDOW) -> list[Window]:
    """Return overlapping windows over `count` utterances; each is used once.

    >>> windows(10, size=6)
    [Window(start=0, end=6, first=0, last=4), Window(start=3, end=9, first=4, last=6), \
Window(start=4, end=10, first=6, last=10)]
    """
    if count <= size:
        return [Window(0, count, 0, count)]
    starts = [*range(0, count - size, size // 2), count - size]
    # halfway between the middles of two windows
    limits = [0, *((a + b + size) // 2 for a, b in pairwise(starts)), count]
    return [
        Window(start, start + size, first, last)
        for start, first, last in zip(starts, limits, limits[1:], strict=False)
    ]


def _logits_of(model: EmotionModel | GraphModel, dialogues: list[Dialogue]) -> list[np.ndarray]:
    if isinstance(model, GraphModel):
        return [model.logits(dialogue) for dialogue in dialogues]
    from pipeline.training.torch_logits import torch_logits  # imports torch

    return torch_logits(model, dialogues)


def apply_temperature(
    logits: np.ndarray, log_prior: np.ndarray, temperature: float | np.ndarray
) -> np.ndarray:
    """Divide the evidence by a temperature and keep the prior.

    Under a uniform prior this changes confidences but no predicted label.

    >>> apply_temperature(np.array([3.0, 1.0]), np.array([1.0, 0.0]), 2.0)
    array([2. , 0.5])
    """
    return log_prior + (logits - log_prior) / temperature


class Predictor:
    """A trained model with its normaliser, prior and temperatures.

    model: default: that of the checkpoint, in torch.

    >>> Predictor.load("merc-offline").profile
    'offline'
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        name: str,
        device: str = "cpu",
        model: EmotionModel | GraphModel | None = None,
    ) -> None:
        self.name = name
        self.checkpoint = checkpoint
        self.labels: tuple[str, ...] = tuple(checkpoint.config.labels)
        # as extracted, before columns are selected
        self.widths: dict[str, int] = dict(checkpoint.config.widths) | checkpoint.normaliser.inputs
        self.fingerprints: dict[str, dict[str, Any]] | None = checkpoint.fingerprints
        self.profile = profile_of(self.fingerprints)
        self.speaker_rows: str = getattr(checkpoint.config, "speaker_rows", "appearance")
        self.model = model or checkpoint.model().to(device)

    @classmethod
    def load(cls, source: str | Path, device: str = "cpu") -> Predictor:
        """Load a run folder, a model file, or the model that ships, "merc-offline".

        On the CPU, the model that ships is an ONNX graph. Every other model needs torch.

        Raises MercError if there is no such model, ValueError if its file is damaged.
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
                raise MercError(
                    f"{path}: no such model",
                    "name the folder of a finished run of merc train (it has model.safetensors), "
                    f"a model file, or {SHIPPED}",
                )
            shipped = name == SHIPPED and path != Path(source)
            if shipped:
                check_weights(SHIPPED, path)
            name = f"{name}@{sha256_of(path)[:12]}"
            try:
                if shipped and device == "cpu":
                    checkpoint = read_checkpoint(path)
                    return cls(checkpoint, name, model=GraphModel(checkpoint))
                from css_model.checkpoint import load_checkpoint  # imports torch

                return cls(load_checkpoint(path), name, device)
            except ValueError as error:
                reason, _, _ = str(error).partition(". Train it again")
                raise MercError(reason, "train it again, or use another copy") from error

    def check(self, fingerprints: dict[str, dict[str, Any]] | None, *, known: bool = True) -> None:
        """Refuse features that this model was not trained on.

        known: also refuse features of unknown origin, on either side, as labelling must. False:
            compare only what is known.

        Raises MercError with the difference.
        """
        if self.fingerprints is None or fingerprints is None:
            if known:
                raise MercError(
                    f"{self.name} was trained on features of unknown origin (its table has no "
                    "fingerprints.json), which cannot be extracted from a recording",
                    "export a table with `merc store export` and train on that",
                )
            return
        if known:
            _check_origin(self.name, self.fingerprints)
            if self.speaker_rows == "gender":
                raise MercError(
                    f"{self.name} was trained on speakers M and F, whom a recording does not name",
                    "train with model.speaker_rows=appearance (`merc evaluate` does read this "
                    "model)",
                )
        for modality, fingerprint in fingerprints.items():
            trained = self.fingerprints.get(modality)
            if trained is None or _essential(trained) == _essential(fingerprint):
                continue
            differences = "; ".join(
                f"{key} {_short(trained.get(key))} in training, {_short(fingerprint.get(key))} here"
                for key in sorted({*trained, *fingerprint})
                if trained.get(key) != fingerprint.get(key)
            )
            raise MercError(
                f"{self.name} was trained on other {modality} features: {differences}",
                "extract with the extractor that it was trained with (profile "
                f"{self.profile}), or train on these features",
            )

    def check_speakers(self, dialogues: Collection[Dialogue]) -> None:
        """Raise MercError for speakers that the model cannot number; see `check_speaker_rows`."""
        check_speaker_rows(dialogues, self.speaker_rows)

    def check_widths(self, widths: dict[str, int]) -> None:
        """Refuse features of other widths, or of none of the model's modalities.

        Raises MercError.
        """
        for modality, width in widths.items():
            if modality in self.widths and self.widths[modality] != width:
                raise MercError(
                    f"{self.name}: takes {modality} features of width {self.widths[modality]}, but "
                    f"these have {width}, so another extractor made them",
                    f"extract with profile {self.profile}, or train on these features",
                )
        if not set(widths) & set(self.widths):
            raise MercError(
                f"{self.name}: reads {', '.join(self.widths)}, but there is only "
                f"{', '.join(widths)}",
                "use a table with one of these modalities",
            )

    def probabilities(self, dialogue: Dialogue, prior: str = "train") -> np.ndarray:
        """Return (n, classes) float64 probabilities; every row sums to 1.

        prior: "train": classes as frequent as in training; "uniform": all classes equally likely;
            "auto": "train" for utterances with text, else "uniform". How frequent emotions are in
            the words of a corpus says nothing about voices and faces without words.

        An utterance without any feature gets the prior (see `modality_sets`).
        """
        if not dialogue.utterances:
            return np.zeros((0, len(self.labels)))
        prepared = prepare(dialogue, self.widths, self.checkpoint.normaliser)
        return self.prepared_probabilities(prepared, prior)

    def prepared_probabilities(self, prepared: Dialogue, prior: str = "train") -> np.ndarray:
        """Return the probabilities of a dialogue that `prepare` has normalised."""
        if prior not in PRIORS:
            raise UsageError(f"unknown prior {prior!r}", f"choose {' or '.join(PRIORS)}")
        present = modality_sets(prepared)
        temperatures = np.array([self.checkpoint.temperatures.get(s, 1.0) for s in present])
        log_prior = np.asarray(self.checkpoint.log_prior, np.float64)
        logits = compute_logits(self.model, [prepared])[0]
        scores = apply_temperature(logits, log_prior, temperatures[:, None])
        scores[[not modalities for modalities in present]] = log_prior
        wordless = np.array(["text" not in modalities.split("+") for modalities in present])
        uniform = prior == "uniform" or (prior == "auto" and wordless[:, None])
        scores = np.where(uniform, scores - log_prior, scores)
        return softmax(scores)


def _check_origin(name: str, fingerprints: dict[str, dict[str, Any]]) -> None:
    if any(made.get("extractor") == "synthetic" for made in fingerprints.values()):
        raise MercError(
            f"{name} was trained on the synthetic corpus, whose features are random numbers and "
            "cannot be extracted from a recording",
            "label with merc-offline, or train on recordings",
        )
    published = [m for m, made in fingerprints.items() if made.get("extractor") == "published"]
    if published:
        raise MercError(
            f"{name} was trained on published {', '.join(published)} features, whose extraction "
            "was never released, so they cannot be extracted from a recording",
            "label with merc-offline, or train on features of `merc extract` (`merc evaluate` does "
            "read this model)",
        )


def _essential(fingerprint: dict[str, Any]) -> dict[str, Any]:
    """Drop how faces are found: that differs by platform and does not change a face's vector."""
    options = {k: v for k, v in fingerprint.get("options", {}).items() if k != "detector"}
    kept = {k: v for k, v in fingerprint.items() if k != "following"}
    return kept | {"options": options}


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
