"""`merc extract`: media in, three features an utterance into the store; what is there already is not made again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.dialogue import MODALITIES, Segmentation
from pipeline.core.errors import UsageError
from pipeline.core.failures import Failure, printable, run_each
from pipeline.core.files import check_folder, json_ready
from pipeline.core.fingerprints import sha256_of
from pipeline.core.progress import NoProgress, Progress
from pipeline.features.compute import DialogueFeatures, features_of
from pipeline.features.profiles import ExtractorOptions, build_extractors
from pipeline.features.store import DamagedError, Features, Store, default_store
from pipeline.media.decode import Media, open_media
from pipeline.media.inputs import Input, check_transcript, find_media
from pipeline.segmentation.recognition import Recogniser, RecognitionError
from pipeline.segmentation.segment import VERSION, segment
from pipeline.segmentation.speakers_by_face import method
from pipeline.segmentation.speakers_by_voice import METHOD
from pipeline.segmentation.transcripts import find_transcript

__all__ = [
    "AGAIN",
    "KEPT",
    "MADE",
    "ExtractOptions",
    "ExtractWork",
    "Extracted",
    "Summary",
    "extract",
    "stored_features",
]

MADE, KEPT, AGAIN = "made", "kept", "made again"  # again: the file in the store was damaged


@dataclass(frozen=True)
class ExtractOptions:
    """Everything but the media and the store."""

    profile: str = "roberta"
    extractors: ExtractorOptions = field(default_factory=ExtractorOptions)
    modalities: tuple[str, ...] = MODALITIES
    whisper: str = "tiny.en"
    language: str | None = None
    speakers: int | None = None
    transcript: Path | None = None


@dataclass(frozen=True)
class Extracted:
    """One medium in the store.  done: step -> made, kept or made again; present: modality -> utterances with it."""

    input: str
    medium: str
    utterances: int
    done: dict[str, str]
    present: dict[str, int]
    warnings: list[str]


@dataclass(frozen=True)
class Summary:
    store: Path
    files: list[Extracted]
    failures: list[Failure]

    @property
    def nothing_done(self) -> bool:
        return not self.failures and all(set(file.done.values()) == {KEPT} for file in self.files)


def extract(
    paths: Sequence[Path],
    out: Path | None = None,
    options: ExtractOptions | None = None,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Summary:
    """Extract every medium of `paths` (files and folders) into the store `out`.

    Raises UsageError (a single missing path, a store that cannot be), ValueError or OSError when the profile's
    weights are missing; what goes wrong with one input is in the summary's failures.
    """
    options = options or ExtractOptions()
    media, failures = find_media(paths)
    check_transcript(options.transcript, media)
    unknown = [name for name in options.modalities if name not in MODALITIES]
    if unknown:
        raise UsageError(f"--modality {unknown[0]}: choose from {', '.join(MODALITIES)}")
    root = out or default_store()
    check_folder(root)
    work = _Work(root, options)
    if media:
        work.prepare()
    progress = progress or NoProgress()
    progress.start(len(media))
    for failure in failures:
        progress.report(failure)
    results, failed = run_each(media, work, jobs=jobs, progress=progress)
    return Summary(root, [result for result in results if result is not None], [*failures, *failed])


@dataclass(frozen=True)
class ExtractWork:
    """What extracts one item; the models are opened when they are first needed, once per process."""

    root: Path
    options: ExtractOptions

    def __getstate__(self) -> dict[str, Any]:
        return {
            item.name: getattr(self, item.name) for item in fields(self)
        }  # models stay in their process

    @cached_property
    def extractors(self) -> dict[str, Any]:
        return build_extractors(
            self.options.profile, self.options.extractors, self.options.modalities
        )


class _Work(ExtractWork):
    """Extract one medium."""

    @cached_property
    def recogniser(self) -> Recogniser:
        profile = self.options.profile
        return Recogniser(self.options.whisper, self.options.language, profile)

    def prepare(self) -> None:
        """Raise here, once, what would go wrong with every medium."""
        assert self.extractors and self.recogniser

    def __call__(self, item: Input, tell: Callable[..., None]) -> Extracted:
        store, done, present = Store(self.root), {}, {}
        tell("open")
        with open_media(item.path) as media:
            medium = media.sha256
            tell("utterances")
            segmentation, done["utterances"] = self._segmentation(store, media, tell)
            for modality, extractor in self.extractors.items():
                tell(modality)
                features, done[modality] = stored_features(
                    store, media, segmentation, modality, extractor
                )
                present[modality] = int((~np.isnan(features.vectors).all(1)).sum())
            store.note_name(medium, printable(item.path.name))
            return Extracted(
                printable(item),
                medium,
                len(segmentation.utterances),
                done,
                present,
                [*media.warnings, *segmentation.warnings],
            )

    def _segmentation(
        self, store: Store, media: Media, tell: Callable[..., None]
    ) -> tuple[Segmentation, str]:
        transcript = self.options.transcript or find_transcript(media.path)
        request = {
            "transcript": sha256_of(transcript) if transcript else None,
            "version": VERSION,
            "voices": METHOD,
            "faces": method(),
            "kind": transcript.suffix.lower() if transcript else None,
            "language": self.options.language,
            "recogniser": self._recogniser(transcript),
            "speakers": self.options.speakers,
        }
        name = f"{media.path.name}: "  # the store holds no names
        other = f"{transcript.name}: " if transcript else name
        how = MADE
        try:
            kept = store.read_segmentation(media.sha256, request)
        except DamagedError:
            kept, how = None, AGAIN
        if kept:
            return Segmentation(
                kept.utterances, kept.source, [name + text for text in kept.warnings]
            ), KEPT
        found = segment(
            media,
            transcript=self.options.transcript,
            recogniser=self.recogniser,
            speakers=self.options.speakers,
            language=self.options.language,
        )
        plainly = [text.removeprefix(name).removeprefix(other) for text in found.warnings]
        store.write_segmentation(
            media.sha256, request, Segmentation(found.utterances, found.source, plainly)
        )
        return found, how

    def _recogniser(self, transcript: Path | None) -> dict[str, Any] | None:
        """Its fingerprint; a transcript with times does without a recogniser, so there its absence is none."""
        try:
            return self.recogniser.fingerprint
        except RecognitionError:
            if transcript:
                return None
            raise


def stored_features(
    store: Store,
    media: Media,
    segmentation: Segmentation,
    modality: str,
    extractor: Any,
    make: Callable[..., DialogueFeatures] = features_of,
    view: dict[str, Any] | None = None,
) -> tuple[Features, str]:
    """From the store, or made and stored, and which.  view: what else than the whole medium `make` looks at."""
    fingerprint = {"extractor": extractor.fingerprint, "segmentation": segmentation.source} | (
        view or {}
    )
    how = MADE
    try:
        kept = store.read(media.sha256, modality, fingerprint)
        if kept and kept.utterances == segmentation.utterances:
            return kept, KEPT
    except DamagedError:
        how = AGAIN
    made = make(media, segmentation, {modality: extractor})
    features = Features(
        media.sha256,
        modality,
        fingerprint,
        segmentation.utterances,
        made.vectors[modality],
        json_ready(made.quality[modality]),
    )
    store.write(features)
    return features, how
