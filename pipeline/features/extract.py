"""Extract the features of recordings into a store, without computing any of them twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.core.dialogue import MODALITIES, Segmentation
from pipeline.core.errors import MercWarning, UsageError
from pipeline.core.failures import Failure, printable, run_each
from pipeline.core.files import check_folder, json_ready
from pipeline.core.progress import NoProgress, Progress, Stage, allow_time
from pipeline.features.compute import DialogueFeatures, compute_features
from pipeline.features.profiles import ExtractorOptions, build_extractors
from pipeline.features.store import DamagedError, Features, Store, default_store
from pipeline.media.decode import Media, open_media
from pipeline.media.inputs import Input, check_transcript, find_media
from pipeline.segmentation.recognition import Recogniser
from pipeline.segmentation.segment import segment, segmentation_request

__all__ = [
    "KEPT",
    "MADE",
    "REPAIRED",
    "ExtractOptions",
    "ExtractWork",
    "Extracted",
    "Summary",
    "extract",
    "stored_features",
]

MADE = "made"
KEPT = "kept"  # the store had it
REPAIRED = "made again"  # the store had it, damaged


@dataclass(frozen=True)
class ExtractOptions:
    """How features are extracted. See `merc extract --help`."""

    profile: str = "roberta"
    extractors: ExtractorOptions = field(default_factory=ExtractorOptions)
    modalities: tuple[str, ...] = MODALITIES
    whisper: str = "tiny.en"
    language: str | None = None
    speakers: int | None = None
    transcript: Path | None = None


@dataclass(frozen=True)
class Extracted:
    """One recording in the store. The fields are those of the JSON output.

    medium: SHA-256 of the recording's bytes.
    done: step ("utterances" or a modality) -> MADE, KEPT or REPAIRED.
    present: modality -> number of utterances whose feature is not missing.
    """

    input: str
    medium: str
    utterances: int
    done: dict[str, str]
    present: dict[str, int]
    warnings: list[MercWarning]


@dataclass(frozen=True)
class Summary:
    """What `extract` did: the recordings in the store and the inputs that failed."""

    store: Path
    files: list[Extracted]
    failures: list[Failure]

    @property
    def nothing_done(self) -> bool:
        """True if the store had everything."""
        return not self.failures and all(set(file.done.values()) == {KEPT} for file in self.files)


def extract(
    paths: Sequence[Path],
    store: Path | None = None,
    options: ExtractOptions | None = None,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Summary:
    """Extract the features of every utterance of recordings into a store.

    Args:
        paths: recordings, and folders to search for recordings.
        store: folder of the store; default: `default_store()`.
        jobs: number of worker processes.

    An input that fails does not stop the others: it is listed in the summary's `failures`. Raises
    UsageError or MercError for what would fail with every input, such as missing weights.

    >>> summary = extract([Path("examples")], Path("store"), ExtractOptions("offline"))
    >>> [file.input for file in summary.files]
    ['examples/dialogue.mp4']
    """
    options = options or ExtractOptions()
    inputs, unusable = find_media(paths)
    check_transcript(options.transcript, inputs)
    unknown = [name for name in options.modalities if name not in MODALITIES]
    if unknown:
        raise UsageError(f"--modality {unknown[0]}: unknown", f"choose {', '.join(MODALITIES)}")
    root = store or default_store()
    check_folder(root)
    Store(root).remove_stale()
    work = _Work(root, options)
    if inputs:
        work.check()
    progress = progress or NoProgress()
    progress.start(len(inputs))
    for failure in unusable:
        progress.report(failure)
    results, failures = run_each(inputs, work, jobs=jobs, progress=progress)
    files = [result for result in results if result is not None]
    return Summary(root, files, [*unusable, *failures])


@dataclass(frozen=True)
class ExtractWork:
    """Base of the work on one item. Models load on first use, once per process."""

    root: Path
    options: ExtractOptions

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the fields alone: loaded models stay in their process."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @cached_property
    def extractors(self) -> dict[str, Any]:
        options = self.options
        return build_extractors(options.profile, options.extractors, options.modalities)


class _Work(ExtractWork):
    """Extract one recording."""

    @cached_property
    def recogniser(self) -> Recogniser:
        return Recogniser(self.options.whisper, self.options.language, self.options.profile)

    def check(self) -> None:
        """Load the models, so that what would fail with every recording is raised once."""
        _ = self.extractors, self.recogniser

    def __call__(self, item: Input, stage: Stage) -> Extracted:
        store, done, present = Store(self.root), {}, {}
        stage("open")
        with open_media(item.path) as media:
            allow_time(stage, media.duration)
            stage("utterances")
            request = segmentation_request(media.path, **self._arguments)
            segmentation, done["utterances"] = self._segmentation(store, media, request, stage)
            for modality, extractor in self.extractors.items():
                stage(modality)
                features, done[modality] = stored_features(
                    store, media, segmentation, modality, extractor
                )
                present[modality] = features.present
            store.add_name(media.sha256, printable(item.path.name))
            # what decoding found is stored, too: the next run may not decode
            new = [warning for warning in media.warnings if warning not in segmentation.warnings]
            if new:
                segmentation = replace(segmentation, warnings=[*segmentation.warnings, *new])
                store.write_segmentation(media.sha256, request, segmentation)
            return Extracted(
                printable(item),
                media.sha256,
                len(segmentation.utterances),
                done,
                present,
                segmentation.warnings,
            )

    @property
    def _arguments(self) -> dict[str, Any]:
        return {
            "transcript": self.options.transcript,
            "recogniser": self.recogniser,
            "speakers": self.options.speakers,
            "language": self.options.language,
        }

    def _segmentation(
        self, store: Store, media: Media, request: dict[str, Any], stage: Stage
    ) -> tuple[Segmentation, str]:
        """Read the utterances from the store, or find and store them; also return which."""
        how = MADE
        try:
            stored = store.read_segmentation(media.sha256, request, media.path.name)
            if stored:
                return stored, KEPT
        except DamagedError:
            how = REPAIRED
        segmentation = segment(media, stage=stage, **self._arguments)
        store.write_segmentation(media.sha256, request, segmentation)
        return segmentation, how


def stored_features(
    store: Store,
    media: Media,
    segmentation: Segmentation,
    modality: str,
    extractor: Any,
    compute: Callable[..., DialogueFeatures] = compute_features,
    view: dict[str, Any] | None = None,
) -> tuple[Features, str]:
    """Read the features of one modality from the store, or compute and store them.

    compute: called as `compute_features` is. view: added to the fingerprint if `compute` looks at a
    part of the recording only.

    Returns:
        The features, and MADE, KEPT or REPAIRED.
    """
    fingerprint = {"extractor": extractor.fingerprint, "segmentation": segmentation.source}
    fingerprint |= view or {}
    how = MADE
    try:
        stored = store.read(media.sha256, modality, fingerprint)
        if stored and stored.utterances == segmentation.utterances:
            return stored, KEPT
    except DamagedError:
        how = REPAIRED
    computed = compute(media, segmentation, {modality: extractor})
    features = Features(
        media.sha256,
        modality,
        fingerprint,
        segmentation.utterances,
        computed.vectors[modality],
        json_ready(computed.quality[modality]),
    )
    store.write(features)
    return features, how
