"""A run before it is trained: claimed, so that it resumes and no other is overwritten."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.dialogue import Corpus, Dialogue
from pipeline.core.errors import MercError
from pipeline.core.fingerprints import checksum
from pipeline.core.run_folder import WORK, begin_run, copy_into, end_run, find_run
from pipeline.training.config import Configuration, to_yaml
from pipeline.training.predictor import check_speaker_rows
from pipeline.training.protocols import Parts, count_labels, speaker_notes, split_corpus
from pipeline.training.report import write_run
from pipeline.training.start import Start
from pipeline.training.summary import SeedResult, summarise

__all__ = ["PlannedRun", "plan_run"]


@dataclass(frozen=True)
class PlannedRun:
    """One model under one protocol, clean or published, in a run folder of its own.

    seeds: their numbers. finished: the metrics, if the folder holds this run already. start: the
        model that training starts from.
    """

    out: Path
    parts: Parts
    config: Configuration
    seeds: list[int]
    identity: str
    finished: dict[str, Any] | None
    start: Start | None = None

    def folder(self, seed: int) -> Path:
        """Return the folder that `fit` writes this seed into."""
        return self.out / WORK / f"seed-{seed}"

    def begin(self) -> None:
        """Mark the folder as that of this run."""
        begin_run(self.out, self.identity)

    def finish(self, results: list[SeedResult]) -> dict[str, Any]:
        """Write the run from the scores of all seeds; return its metrics."""
        metrics, tables = summarise(self.parts, self.config, results)
        best = self.folder(metrics["best_seed"])
        copy_into(best / "model.safetensors", self.out / "model.safetensors")
        if self.config.train.keep_seeds:
            for seed in self.seeds:
                model = self.folder(seed) / "model.safetensors"
                copy_into(model, self.out / f"seed-{seed}.safetensors")
        metrics["identity"] = self.identity
        metrics["start"] = self.start.name if self.start else None
        metrics = write_run(self.out, metrics, self.config, tables=tables)
        end_run(self.out)
        return metrics


def plan_run(
    corpus: Corpus,
    config: Configuration,
    protocol: str,
    seeds: int,
    out: Path,
    start: Start | None = None,
) -> PlannedRun:
    """Split the corpus for a protocol, and see what of the run exists.

    Raises:
        MercError: a corpus that cannot be trained on, or an impossible model.
        UsageError: `out` holds another run, or other files.
    """
    few_below = config.train.few_below if start else 0
    parts = split_corpus(corpus, config.data, protocol, few_below)
    parts.notes.extend(speaker_notes(corpus, getattr(config.model, "speakers", 0)))
    if start is not None:
        counts = count_labels(parts.train(0, config.train.seed), len(corpus.labels))
        parts.notes.extend(start.notes(corpus, config, counts))
    _check_model(corpus, config, start)
    check_speaker_rows(corpus.dialogues, getattr(config.model, "speaker_rows", "appearance"))
    identity = _identity(corpus, config, protocol, seeds, start)
    numbers = [config.train.seed + k for k in range(seeds)]
    return PlannedRun(out, parts, config, numbers, identity, find_run(out, identity), start)


def _check_model(corpus: Corpus, config: Configuration, start: Start | None) -> None:
    """Raise MercError for an impossible model, before a run folder is made."""
    try:
        config.model_config(tuple((start or corpus).widths.items()), corpus.labels)
    except ValueError as error:
        raise MercError(f"settings of the model: {error}", "change them with --set") from error


def _identity(
    corpus: Corpus, config: Configuration, protocol: str, seeds: int, start: Start | None
) -> str:
    """Return a checksum of everything that the result depends on."""
    return checksum(
        {
            "corpus": [corpus.name, corpus.labels, corpus.widths, corpus.fingerprints],
            "dialogues": [_dialogue_checksum(dialogue) for dialogue in corpus.dialogues],
            "settings": to_yaml(config),
            "protocol": protocol,
            "seeds": seeds,
            **({"start": start.name} if start else {}),
        }
    )


def _dialogue_checksum(dialogue: Dialogue) -> str:
    features = [dialogue.features[modality].tobytes() for modality in sorted(dialogue.features)]
    content = [dialogue.id, dialogue.split, dialogue.utterances, dialogue.speakers]
    return checksum(content, b"".join([dialogue.labels.tobytes(), *features]))
