"""`merc train` on a raw release: on request a fine-tuned text encoder, then features, then a corpus to train on."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields
from pathlib import Path

from pipeline.core.dialogue import Corpus
from pipeline.core.failures import Failure
from pipeline.corpora import load_corpus
from pipeline.corpora.locate import RawReleaseError
from pipeline.features.profiles import PROFILES, TEXT_MODEL, ExtractorOptions

__all__ = ["RawOptions", "corpus_of"]


@dataclass(frozen=True)
class RawOptions:
    """How features of a raw release are made; for other data sets nothing of it may be given.

    finetune: a folder for a text encoder that is fine-tuned on the corpus first (or was, by an earlier run).
    """

    profile: str | None = None  # default: roberta
    text_model: str | None = None
    finetune: Path | None = None
    store: Path | None = None
    jobs: int | None = None

    @property
    def given(self) -> list[str]:
        return [
            f"--{item.name.replace('_', '-')}"
            for item in fields(self)
            if getattr(self, item.name) is not None
        ]


def corpus_of(
    dataset: str, data: Path | None, options: RawOptions, left: str = "letter", alone: bool = True
) -> tuple[Corpus, list[Failure]]:
    """The corpus, and the media of a raw release that failed.  alone: no other process of torchrun does the same.

    Each step finds what an earlier call left: the encoder in its folder, features in the store.
    """
    try:
        corpus = load_corpus(dataset, data)
    except RawReleaseError as release:
        place = release.place
    else:
        if options.given:
            raise ValueError(
                f"{', '.join(options.given)}: for a raw release alone; {corpus.name} has its features"
            )
        return corpus, []
    if not alone:
        raise ValueError(
            f"{place}: a raw release under torchrun; extract first: merc extract --dataset {dataset} "
            f"--data {place} --table TABLE, then train with --data TABLE"
        )
    profile = options.profile or "roberta"
    if profile not in PROFILES:
        raise ValueError(f"no profile {profile!r}; choose {' or '.join(PROFILES)}")
    text_model = options.text_model
    if options.finetune:
        from pipeline.cli.progress import finetuning_progress
        from pipeline.finetuning.finetune import finetune_text

        with finetuning_progress(sys.stderr.isatty()) as report:
            finetune_text(
                dataset,
                place,
                text_model or TEXT_MODEL[profile],
                "full",
                0,
                1,
                options.finetune,
                [],
                report,
            )
        text_model = str(options.finetune)
    from rich.console import Console

    from pipeline.cli.extract import show_corpus
    from pipeline.features.extract import (
        ExtractOptions,  # decoders and extractors: training on tables does without
    )
    from pipeline.features.extract_release import extract_corpus

    chosen = ExtractOptions(profile, ExtractorOptions(text_model=text_model))
    summary = extract_corpus(dataset, place, options.store, chosen, options.jobs or 1, left)
    show_corpus(summary, Console(stderr=True, highlight=False))
    return summary.corpus, summary.failures
