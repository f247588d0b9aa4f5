"""Load a corpus with its features: a table, a published feature file, or a raw release."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.dialogue import Corpus
from pipeline.core.errors import MercError, UsageError
from pipeline.core.progress import Progress
from pipeline.corpora import Source, find_source, read_corpus

if TYPE_CHECKING:
    from pipeline.features.extract_release import ReleaseSummary

__all__ = ["Loaded", "ReleaseOptions", "load", "load_corpus"]


@dataclass(frozen=True)
class ReleaseOptions:
    """How the features of a raw release are extracted; None means the default.

    profile: "roberta" (default) or "offline".
    text_model: name or folder of another text encoder.
    store: folder of the store.
    jobs: number of worker processes.

    >>> ReleaseOptions(text_model="minilm").given
    ['--text-model']
    """

    profile: str | None = None
    text_model: str | None = None
    store: Path | None = None
    jobs: int | None = None

    @property
    def given(self) -> list[str]:
        """The options that are set, as on the command line."""
        names = [item.name for item in fields(self) if getattr(self, item.name) is not None]
        return [f"--{name.replace('_', '-')}" for name in names]


@dataclass(frozen=True)
class Loaded:
    """A corpus, and what its extraction did if it came from a raw release."""

    corpus: Corpus
    release: ReleaseSummary | None = None


DEFAULTS = ReleaseOptions()


def load(
    source: Source,
    *,
    release: ReleaseOptions | None = DEFAULTS,
    left: str = "letter",
    progress: Progress | None = None,
    engine: str = "local",
) -> Loaded:
    """Load a corpus with its features. Those of a raw release are extracted into the store first.

    Args:
        source: from `corpora.find_source`.
        release: options for a raw release; None: refuse one.
        left: IEMOCAP: which actor sits on the left, "letter" (the one in the dialogue's name) or
            "other".
        progress: shows the extraction.
        engine: where it runs, "local" or "ray"; a cluster chooses the number of workers itself if
            `release` does not.

    Raises MercError or OSError; UsageError if options for a raw release are given for another
    source.

    >>> load(find_source("synthetic")).corpus.name
    'synthetic'
    """
    if source.kind != "release" or release is None:
        if release is not None and release.given:
            options = ", ".join(release.given)
            raise UsageError(
                f"{options}: only for a raw release; {source.name} has its features",
                "omit these options",
            )
        return Loaded(read_corpus(source))
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise MercError(
            f"{source.path}: a raw release cannot be extracted under torchrun",
            f"extract first: merc extract --dataset {source.name} --data {source.path} "
            "--table TABLE, then train with --data TABLE",
        )
    # imported here: training on tables needs no decoders and no extractors
    from pipeline.features.extract import ExtractOptions
    from pipeline.features.extract_release import extract_release
    from pipeline.features.profiles import ExtractorOptions

    extractors = ExtractorOptions(text_model=release.text_model)
    chosen = ExtractOptions(release.profile or "roberta", extractors)
    jobs = release.jobs or (1 if engine == "local" else None)
    summary = extract_release(source, release.store, chosen, jobs, left, progress, engine)
    return Loaded(replace(summary.corpus, settings=source.settings), summary)


def load_corpus(
    dataset: str,
    data: Path | None = None,
    *,
    release: ReleaseOptions | None = DEFAULTS,
    left: str = "letter",
    progress: Progress | None = None,
) -> Corpus:
    """Find a corpus by name or folder and load it; see `corpora.find_source` and `load`.

    >>> load_corpus("synthetic").labels[:2]
    ('calm-odd', 'calm-even')
    """
    source = find_source(dataset, data)
    return load(source, release=release, left=left, progress=progress).corpus
