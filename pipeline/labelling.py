"""`merc label`: one medium in, an emotion for every utterance out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import __version__
from pipeline.core.dialogue import Dialogue
from pipeline.features.compute import features_of
from pipeline.features.profiles import build_extractors, check_device, options_of
from pipeline.media.decode import open_media
from pipeline.segmentation.recognition import Recogniser
from pipeline.segmentation.segment import segment
from pipeline.training.predictor import PRIORS, Predictor

if TYPE_CHECKING:
    import pandas

__all__ = ["Labeller", "LabelOptions", "Result", "label"]

DEFAULT_MODEL = "merc-offline"


@dataclass(frozen=True)
class LabelOptions:
    """Everything but the media: what `merc label` takes as options."""

    model: str = DEFAULT_MODEL
    whisper: str = "tiny.en"
    language: str | None = None
    speakers: int | None = None
    prior: str = "train"
    device: str = "cpu"
    text_model: str | None = (
        None  # the folder of a fine-tuned encoder: a run knows its hash, not its place
    )


@dataclass(frozen=True)
class Result:
    """Labelled utterances of one medium; `to_dict()` is the JSON contract that every export starts from."""

    content: dict[str, Any]

    @property
    def utterances(self) -> list[dict[str, Any]]:
        return self.content["utterances"]

    @property
    def warnings(self) -> list[str]:
        return self.content["warnings"]

    def to_dict(self) -> dict[str, Any]:
        return self.content

    def to_dataframe(self) -> pandas.DataFrame:
        """A row an utterance: start, end, speaker, text, emotion, confidence, p_<label>, has_<modality>."""
        import pandas

        plain = ("start", "end", "speaker", "text", "emotion", "confidence")
        rows = [
            {key: utterance[key] for key in plain}
            | {f"p_{name}": p for name, p in utterance["probabilities"].items()}
            | {f"has_{name}": about["present"] for name, about in utterance["modalities"].items()}
            for utterance in self.utterances
        ]
        columns = [*plain, *(f"p_{name}" for name in self.content["labels"])]
        return pandas.DataFrame(rows, columns=None if rows else columns)


class Labeller:
    """A model with the extractors its features came from; loads once, labels many.

    Raises ValueError when the run was trained on features that these extractors do not make.
    """

    def __init__(self, options: LabelOptions | None = None) -> None:
        self.options = options or LabelOptions()
        if self.options.prior not in PRIORS:
            raise ValueError(f"no prior {self.options.prior!r}; choose {' or '.join(PRIORS)}")
        check_device(self.options.device)
        self.predictor = Predictor.load(self.options.model, self.options.device)
        self.profile = self.predictor.profile
        self.predictor.check(
            self.predictor.fingerprints
        )  # unknown features: refused before any model is opened
        chosen = options_of(self.predictor.fingerprints, self.options.device)
        if self.options.text_model:
            chosen = replace(chosen, text_model=self.options.text_model)
        self.extractors = build_extractors(self.profile, chosen, tuple(self.predictor.widths))
        self.predictor.check(
            {name: extractor.fingerprint for name, extractor in self.extractors.items()}
        )
        self.recogniser = Recogniser(self.options.whisper, self.options.language, self.profile)

    def label(
        self,
        path: str | Path,
        transcript: str | Path | None = None,
        stage: Callable[[str], None] = lambda name: None,
    ) -> Result:
        """Label one file.  Raises MediaError (a ValueError) or OSError with the remedy in the message."""
        path = Path(path)
        with open_media(path) as media:
            stage("utterances")
            segmentation = segment(
                media,
                transcript=Path(transcript) if transcript else None,
                recogniser=self.recogniser,
                speakers=self.options.speakers,
                language=self.options.language,
            )
            features = features_of(media, segmentation, self.extractors, stage)
            stage("emotions")
            said = segmentation.utterances
            dialogue = Dialogue(
                id=path.stem,
                split="test",
                utterances=[str(k) for k in range(len(said))],
                speakers=[u.speaker for u in said],
                texts=[u.text for u in said],
                labels=np.full(len(said), -1),
                features=features.vectors,
                times=np.array([(u.start, u.end) for u in said]).reshape(-1, 2),
            )
            probabilities = self.predictor.probabilities(dialogue, self.options.prior)
            return Result(
                {
                    "media": path.name,
                    "sha256": media.sha256,
                    "duration": round(media.duration, 3),
                    "merc": __version__,
                    "model": self.predictor.name,
                    "profile": self.profile,
                    "prior": self.options.prior,
                    "segmentation": segmentation.source,
                    "fingerprints": features.fingerprints,
                    "labels": list(self.predictor.labels),
                    "warnings": [*media.warnings, *segmentation.warnings, *self._substitutes()],
                    "utterances": [
                        self._row(
                            u, probabilities[k], {m: q[k] for m, q in features.quality.items()}
                        )
                        for k, u in enumerate(said)
                    ],
                }
            )

    def _substitutes(self) -> list[str]:
        trained = (
            ((self.predictor.fingerprints or {}).get("visual") or {})
            .get("options", {})
            .get("detector")
        )
        used = (
            self.extractors["visual"].fingerprint["options"]["detector"]
            if "visual" in self.extractors
            else trained
        )
        return [] if used == trained else [f"faces were found by {used}, in training by {trained}"]

    def _row(self, utterance: Any, p: np.ndarray, modalities: dict[str, Any]) -> dict[str, Any]:
        best = int(p.argmax())
        return {
            "start": round(utterance.start, 3),
            "end": round(utterance.end, 3),
            "speaker": utterance.speaker,
            "text": utterance.text,
            "emotion": self.predictor.labels[best],
            "confidence": float(p[best]),
            "probabilities": {
                name: float(value) for name, value in zip(self.predictor.labels, p, strict=True)
            },
            "modalities": modalities,
        }


def label(
    media: str | Path,
    *,
    transcript: str | Path | None = None,
    speakers: int | None = None,
    model: str = DEFAULT_MODEL,
    language: str | None = None,
    device: str = "cpu",
) -> Result:
    """Label one dialogue; see `Labeller` for many."""
    options = LabelOptions(model=model, speakers=speakers, language=language, device=device)
    return Labeller(options).label(media, transcript)
