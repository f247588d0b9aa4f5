"""Extract the features of recordings into a store, without computing any of them twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.arguments import number_of_speakers
from pipeline.core.claims import claimed
from pipeline.core.dialogue import MODALITIES, Segmentation
from pipeline.core.errors import MercWarning, UsageError
from pipeline.core.failures import Failure, Later, printable, run_each
from pipeline.core.files import check_folder, check_room, json_ready
from pipeline.core.progress import NoProgress, Progress, Stage, allow_time
from pipeline.core.ray_engine import Cluster, check_engine, connect
from pipeline.core.remote import output_url
from pipeline.core.resources import WORKER_MEMORY, positive_number
from pipeline.features.compute import DialogueFeatures, compute_features
from pipeline.features.profiles import ExtractorOptions, build_extractors
from pipeline.features.remote_store import prepare_remote_store, recording_copy
from pipeline.features.store import DamagedError, Features, Store, default_store
from pipeline.features.store_format import FORMAT_FILE, check_format, migrate
from pipeline.media.decode import Media, open_media
from pipeline.media.inputs import Input, check_transcript, find_media

# what workers need is imported there: it takes a second, and several with profile roberta
if TYPE_CHECKING:
    from pipeline.segmentation.recognition import Recogniser

__all__ = [
    "KEPT",
    "MADE",
    "REPAIRED",
    "ExtractOptions",
    "ExtractWork",
    "Extracted",
    "Extraction",
    "Summary",
    "extract",
    "extraction_cluster",
    "stored_features",
]

MADE = "made"
KEPT = "kept"  # the store had it
REPAIRED = "made again"  # the store had it, damaged
GPU_WORKERS = 4  # that share a GPU: while one decodes, the others use it; $MERC_GPU_WORKERS
PAUSE = 0.2  # s between two looks at a recording that another process has in work


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
    """What `extract` did: the recordings in the store and the inputs that failed.

    costs: stage -> CPU seconds, of all processes.
    """

    store: Path | str  # a URL
    files: list[Extracted]
    failures: list[Failure]
    costs: dict[str, float] = field(default_factory=dict)

    @property
    def nothing_done(self) -> bool:
        """True if the store had everything."""
        return not self.failures and all(set(file.done.values()) == {KEPT} for file in self.files)


def extract(
    paths: Sequence[Path],
    store: Path | None = None,
    options: ExtractOptions | None = None,
    jobs: int | None = 1,
    progress: Progress | None = None,
    engine: str = "local",
    isolate: bool = False,
) -> Summary:
    """Extract the features of every utterance of recordings into a store.

    Args:
        paths: recordings, and folders to search for recordings; also URLs (`core.remote`).
        store: folder of the store, or its URL; default: `default_store()`.
        jobs: number of worker processes; None: as many as cores and memory carry.
        engine: "local": worker processes on this machine; "ray": on a Ray cluster, see
            `core.ray_engine`.
        isolate: decode no recording in this process, not even a single one.

    What the store has is not computed again, so any number of processes may share the store and
    the inputs: each takes what no other has in work.

    An input that fails does not stop the others: it is listed in the summary's `failures`. Raises
    UsageError or MercError for what would fail with every input, such as missing weights.

    >>> summary = extract([Path("examples")], Path("store"), ExtractOptions("offline"))
    >>> [file.input for file in summary.files]
    ['examples/dialogue.mp4']
    """
    inputs, unusable = find_media(paths, remote=True)
    extraction = Extraction(
        store, options, jobs, engine, isolate or (jobs != 1 and len(inputs) > 1)
    )
    check_transcript(extraction.options.transcript, inputs)
    extraction.open(load=bool(inputs))
    return extraction.run(inputs, progress, unusable)


class Extraction:
    """Recordings into one store, in one round or in several. The arguments are those of `extract`.

    Call `open` once, then `run` for each round.
    """

    def __init__(
        self,
        store: Path | None = None,
        options: ExtractOptions | None = None,
        jobs: int | None = 1,
        engine: str = "local",
        isolate: bool = False,
    ) -> None:
        options = options or ExtractOptions()
        self.options = replace(options, speakers=number_of_speakers(options.speakers))
        self.jobs, self.engine = jobs, engine
        self.isolate = isolate
        self.root = store or default_store()
        self.url = output_url(self.root)
        self.work = _Work(self.root, self.options, self.url)

    def open(self, load: bool = True) -> None:
        """Prepare the store. Load the models, unless workers do so, or connect to the cluster.

        Raises UsageError or MercError for what would fail with every recording. If workers load the
        models, `run` raises it.
        """
        names = self.options.modalities
        unknown = [name for name in names if name not in MODALITIES]
        if unknown:
            raise UsageError(f"--modality {unknown[0]}: unknown", f"choose {', '.join(MODALITIES)}")
        check_engine(self.engine)
        if not self.url:
            check_folder(self.root)
            check_format(self.root)
            Store(self.root).remove_stale()
        if self.engine == "ray":
            connect()
        if self.engine == "ray" or not load:
            _ = self.work.prepared
        elif not self.isolate:
            self.work.check()

    def check(self) -> None:
        """Raise at once what would fail with every recording, although workers load the models."""
        if self.isolate and self.engine == "local":
            run_each([self.root], _Check(self.work), isolate=True)

    def run(
        self,
        inputs: Sequence[Input],
        progress: Progress | None = None,
        unusable: Sequence[Failure] = (),
    ) -> Summary:
        """Extract recordings. unusable: inputs that failed before, for progress and summary."""
        progress = progress or NoProgress()
        progress.start(len(inputs))
        for failure in unusable:
            progress.report(failure)
        cluster = None
        if self.engine == "ray":
            local = [item.path for item in inputs if not item.url and item.size]
            cluster = extraction_cluster(self.root, self.options, local)
        costs: dict[str, float] = {}
        results, failures = run_each(
            inputs,
            self.work,
            jobs=self.jobs,
            progress=progress,
            size=lambda item: item.size,
            costs=costs,
            cluster=cluster,
            isolate=self.isolate,
        )
        files = [result for result in results if result is not None]
        return Summary(self.url or self.root, files, [*unusable, *failures], costs)


@dataclass(frozen=True)
class _Check:
    """Load the models of `work` and do nothing."""

    work: _Work

    def check(self) -> None:
        self.work.check()

    def __call__(self, item: Path, stage: Stage) -> None: ...


def extraction_cluster(root: Path, options: ExtractOptions, recordings: Sequence[Path]) -> Cluster:
    """Return what a worker takes of a node. recordings: one must be there, as must the store."""
    url = output_url(root)
    stores = [] if url.startswith("s3:") else [Path(url.removeprefix("file://") or root)]
    return Cluster(
        gpus=_gpu_share() if options.extractors.device.startswith("cuda") else 0.0,
        memory=WORKER_MEMORY,
        same=tuple(store / FORMAT_FILE for store in stores),
        present=tuple(recordings[:1]),
    )


def _gpu_share() -> float:
    """Return the share of a GPU that a worker takes. Ray counts in ten-thousandths."""
    remedy = "give the number of workers that share a GPU, such as 4"
    workers = positive_number("MERC_GPU_WORKERS", remedy) or GPU_WORKERS
    if workers != int(workers):
        raise UsageError(f"MERC_GPU_WORKERS={workers:g}: not a whole number", remedy)
    return 10_000 // int(workers) / 10_000


@dataclass(frozen=True)
class ExtractWork:
    """Base of the work on one item. Models load on first use, once per process."""

    root: Path  # of the store
    options: ExtractOptions
    url: str = ""  # of the store, if it is not on this machine

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the fields alone: loaded models stay in their process."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @cached_property
    def extractors(self) -> dict[str, Any]:
        options = self.options
        return build_extractors(options.profile, options.extractors, options.modalities)

    def check(self) -> None:
        """Load the models, so that what would fail with every item is raised once."""
        _ = self.extractors


class _Work(ExtractWork):
    """Extract one recording."""

    @cached_property
    def recogniser(self) -> Recogniser:
        from pipeline.segmentation.recognition import Recogniser

        return Recogniser(self.options.whisper, self.options.language, self.options.profile)

    @cached_property
    def prepared(self) -> bool:
        """Bring the store to the current format, or make it."""
        if self.url:
            prepare_remote_store(self.url)
        else:
            migrate(Store(self.root))
        return True

    def check(self) -> None:
        """Load the models; then nothing stands against making the store."""
        super().check()
        _ = self.recogniser
        _ = self.prepared

    def __call__(self, item: Input, stage: Stage) -> Extracted | Later:
        stage("open")
        with item.local() as path, open_media(path) as media:
            if self.url:
                with recording_copy(self.url, media.sha256) as store:
                    done = self._work(store, media, stage)
            else:
                done = self._work(Store(self.root), media, stage)
        return replace(done, input=printable(item)) if isinstance(done, Extracted) else done

    def _work(self, store: Store, media: Media, stage: Stage) -> Extracted | Later:
        """Extract what the store lacks, unless another process does that already."""
        from pipeline.segmentation.segment import segmentation_request

        request = segmentation_request(media.path, **self._arguments)
        waits = False
        while True:
            done = self._kept(store, media, request)
            if done is None:
                with claimed(store.root, media.sha256) as mine:
                    done = self._extract(store, media, request, stage) if mine else None
            if done is not None:
                store.add_name(media.sha256, printable(media.path.name))
                return done
            if not getattr(stage, "again", False):
                return Later()
            if not waits:
                stage("in work elsewhere")
            waits = True
            allow_time(stage, 0.0)
            time.sleep(PAUSE)

    def _kept(self, store: Store, media: Media, request: dict[str, Any]) -> Extracted | None:
        """Return what the store has if that is all, without decoding the recording."""
        try:
            segmentation = store.read_segmentation(media.sha256, request, media.path.name)
            if segmentation is None:
                return None
            present = {}
            for modality, extractor in self.extractors.items():
                fingerprint = _fingerprint(extractor, segmentation)
                features = store.read(media.sha256, modality, fingerprint)
                if features is None or features.utterances != segmentation.utterances:
                    return None
                present[modality] = features.present
        except DamagedError:
            return None
        done = dict.fromkeys(("utterances", *present), KEPT)
        count = len(segmentation.utterances)
        return Extracted("", media.sha256, count, done, present, segmentation.warnings)

    def _extract(
        self, store: Store, media: Media, request: dict[str, Any], stage: Stage
    ) -> Extracted:
        done, present = {}, {}
        allow_time(stage, media.duration)
        stage("utterances")
        segmentation, done["utterances"] = self._segmentation(store, media, request, stage)

        def keep_warnings() -> None:
            """Store what decoding found before the features: the next run may not decode."""
            nonlocal segmentation
            if any(warning not in segmentation.warnings for warning in media.warnings):
                segmentation = _with_warnings(segmentation, media)
                store.write_segmentation(media.sha256, request, segmentation)

        for modality, extractor in self.extractors.items():
            stage(modality)
            features, done[modality] = stored_features(
                store, media, segmentation, modality, extractor, before_write=keep_warnings
            )
            present[modality] = features.present
        keep_warnings()
        count = len(segmentation.utterances)
        return Extracted("", media.sha256, count, done, present, segmentation.warnings)

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
        from pipeline.segmentation.segment import segment

        how = MADE
        try:
            stored = store.read_segmentation(media.sha256, request, media.path.name)
            if stored:
                return stored, KEPT
        except DamagedError:
            how = REPAIRED
        check_room(store.root)
        segmentation = _with_warnings(segment(media, stage=stage, **self._arguments), media)
        # only decoding for them tells all warnings, which were lost with the utterances
        store.remove_features(media.sha256, segmentation.source)
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
    before_write: Callable[[], None] = lambda: None,
) -> tuple[Features, str]:
    """Read the features of one modality from the store, or compute and store them.

    compute: called as `compute_features` is. view: added to the fingerprint if `compute` looks at a
    part of the recording only. before_write: called between computing and storing.

    Returns:
        The features, and MADE, KEPT or REPAIRED.
    """
    fingerprint = _fingerprint(extractor, segmentation) | (view or {})
    how = MADE
    try:
        stored = store.read(media.sha256, modality, fingerprint)
        if stored and stored.utterances == segmentation.utterances:
            return stored, KEPT
    except DamagedError:
        how = REPAIRED
    check_room(store.root)
    computed = compute(media, segmentation, {modality: extractor})
    features = Features(
        media.sha256,
        modality,
        fingerprint,
        segmentation.utterances,
        computed.vectors[modality],
        json_ready(computed.quality[modality]),
    )
    before_write()
    store.write(features)
    return features, how


def _fingerprint(extractor: Any, segmentation: Segmentation) -> dict[str, Any]:
    return {"extractor": extractor.fingerprint, "segmentation": segmentation.source}


def _with_warnings(segmentation: Segmentation, media: Media) -> Segmentation:
    """Add the warnings that decoding has given."""
    new = [warning for warning in media.warnings if warning not in segmentation.warnings]
    return replace(segmentation, warnings=[*segmentation.warnings, *new])
