"""Extract a raw release of IEMOCAP or MELD into a store, and build the labelled corpus from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.core.dialogue import Corpus, Dialogue
from pipeline.core.errors import MercError, MercWarning
from pipeline.core.failures import Failure, run_each
from pipeline.core.files import check_folder
from pipeline.core.fingerprints import sha256_of
from pipeline.core.progress import NoProgress, Progress, Stage, allow_time
from pipeline.core.ray_engine import check_engine
from pipeline.corpora.iemocap_release import read_iemocap_raw
from pipeline.corpora.meld_release import read_meld_raw
from pipeline.corpora.release import POLICIES, RawCorpus, RawUtterance
from pipeline.corpora.splits import LABELS, describe_counts
from pipeline.features.compute import compute_features
from pipeline.features.extract import (
    KEPT,
    Extracted,
    ExtractOptions,
    ExtractWork,
    extraction_cluster,
    stored_features,
)
from pipeline.features.release_plan import Piece, Place, Plan, plan_release, text_piece
from pipeline.features.split_screen import SplitScreenFeatures, agreement
from pipeline.features.store import Features, Store, default_store
from pipeline.features.store_upkeep import prepare_store
from pipeline.media.decode import open_media
from pipeline.media.inputs import size_of

if TYPE_CHECKING:
    from pipeline.corpora import Source

__all__ = ["ReleaseSummary", "extract_release"]


@dataclass(frozen=True)
class ReleaseSummary:
    """What `extract_release` did, and the corpus.

    data: folder of the release.
    raw: the release as it was read, with everything that is wrong with it.
    files: the recordings (and texts without one) in the store.
    sides: IEMOCAP: dialogue -> number of utterances with the moving mouth in the speaker's half of
        the picture, and in the other half.
    """

    store: Path
    data: Path
    raw: RawCorpus
    files: list[Extracted]
    failures: list[Failure]
    corpus: Corpus
    sides: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def nothing_done(self) -> bool:
        """True if the store had everything."""
        return not any(how != KEPT for file in self.files for how in file.done.values())

    @property
    def warnings(self) -> list[MercWarning]:
        """Warnings about the corpus as a whole."""
        return _warnings(self.raw, self.sides)


def extract_release(
    source: Source,
    store: Path | None = None,
    options: ExtractOptions | None = None,
    jobs: int | None = 1,
    left: str = "letter",
    progress: Progress | None = None,
    engine: str = "local",
    isolate: bool = False,
) -> ReleaseSummary:
    """Extract the features of every utterance of a raw release into a store.

    A clip gets the features that `extract` gives it with its line as transcript. If a recording
    fails, its utterances lose audio and visual features but keep their text.

    Args:
        source: of kind "release", from `corpora.find_source`.
        store: folder of the store; default: `default_store()`.
        jobs: number of worker processes; None: as many as cores and memory carry.
        left: IEMOCAP: which actor sits on the left, "letter" (the one in the dialogue's name, F in
            Ses01F) or "other".
        engine, isolate: as `extract` takes them.

    Raises UsageError or MercError before any work.

    Example::

        source = find_source("meld", Path("MELD.Raw"))
        summary = extract_release(source, Path("store"), ExtractOptions("offline"))
        summary.corpus.widths  # {'text': 384, 'audio': 768, 'visual': 342}
    """
    options = options or ExtractOptions()
    root = store or default_store()
    check_engine(engine)
    check_folder(root)
    prepare_store(root)
    raw = _read(source, left)
    assert source.path
    work = _Work(root, options)
    here = work if engine == "local" else _Work(root, _on_cpu(options))
    extractors = here.extractors  # raises what would fail with every recording
    plan = plan_release(raw, options.modalities)
    paths = [piece.path for piece in plan.pieces if piece.path]
    cluster = extraction_cluster(root, options, paths) if engine == "ray" else None
    where = {"jobs": jobs, "cluster": cluster, "isolate": isolate}
    results, failures = _run(plan, work, progress or NoProgress(), where)
    corpus, sides = _Assembly(Store(root), plan, extractors, results).corpus()
    files = [result for result in results.values() if result]
    failures = [_in_release(failure, source.path) for failure in (*_broken_clips(raw), *failures)]
    summary = ReleaseSummary(root, source.path, raw, files, failures, corpus, sides)
    counts = "; ".join(describe_counts(source.name, raw.counts()))
    corpus.notes.append(f"Raw release: {counts}.")
    corpus.notes.extend(raw.notes)
    corpus.notes.extend(str(warning) for warning in summary.warnings)
    return summary


def _on_cpu(options: ExtractOptions) -> ExtractOptions:
    """Return options for a machine that may lack the GPU of its cluster."""
    return replace(options, extractors=replace(options.extractors, device="cpu"))


def _read(source: Source, left: str) -> RawCorpus:
    assert source.path
    if source.name == "meld":
        raw = read_meld_raw(source.path)
    else:
        raw = read_iemocap_raw(source.path, left=left)
    if not raw.utterances:
        raise MercError(
            f"--data {source.path}: no utterance of {source.name} in it",
            f"run `merc corpus check {source.path}` to see what is missing",
        )
    return raw


Results = dict[Piece, Extracted | None]  # None: failed


def _run(
    plan: Plan,
    work: _Work,
    progress: Progress,
    where: dict[str, Any],
) -> tuple[Results, list[Failure]]:
    """Extract all pieces, then the texts of utterances whose recording failed.

    where: they are extracted, arguments of `run_each`.
    """
    progress.start(len(plan.pieces))
    extracted, failures = run_each(
        plan.pieces,
        work,
        progress=progress,
        size=lambda piece: size_of(piece.path) if piece.path else 0,
        **where,
    )
    results: Results = dict(zip(plan.pieces, extracted, strict=True))
    texts = _texts_of_failed(plan, results)
    progress.start(len(texts))
    extracted, more_failures = run_each(texts, work, progress=progress, **where)
    results |= dict(zip(texts, extracted, strict=True))
    return results, [*failures, *more_failures]


def _texts_of_failed(plan: Plan, results: Results) -> list[Piece]:
    pieces = []
    for utterance, places in zip(plan.corpus.utterances, plan.places, strict=True):
        if "text" in places and not any(results.get(piece) for piece, _ in places["text"]):
            piece = text_piece(utterance)
            if piece not in results:
                pieces.append(piece)
    return pieces


def _broken_clips(raw: RawCorpus) -> list[Failure]:
    """List the clips that cannot be opened: they are in no piece, so nothing tried them."""
    failures = []
    for finding in raw.findings:
        if finding.kind == "broken clip" and finding.blocking:
            remedy = f"{POLICIES[finding.kind]}; copy it again from the release"
            failures.append(Failure(finding.item, "open", finding.detail, remedy))
    return failures


def _in_release(failure: Failure, data: Path) -> Failure:
    """Name the release in the failure of a clip or line, as in that of a file."""
    if Path(failure.input).is_relative_to(data):
        return failure
    return replace(failure, input=str(data / failure.input))


def _warnings(raw: RawCorpus, sides: dict[str, tuple[int, int]]) -> list[MercWarning]:
    kinds = Counter(finding.kind for finding in raw.findings)
    warnings = [
        MercWarning(kind, f"{count} ({POLICIES[kind]})") for kind, count in sorted(kinds.items())
    ]
    agreeing = sum(same for same, _ in sides.values())
    checked = sum(same + other for same, other in sides.values())
    if checked:
        text = (
            "the mouth that moves with the sound is in the speaker's half of the picture in "
            f"{agreeing} of {checked} utterances checked"
        )
        warnings.append(MercWarning("sides", text))
    against = [name for name, (same, other) in sides.items() if other > same]
    if against:
        names = ", ".join(against[:5]) + (" …" if len(against) > 5 else "")
        text = (
            f"in {len(against)} of {len(sides)} dialogues it is mostly in the other half: {names}; "
            "if that is most dialogues, exchange the sides (--left other, or --set data.left=other)"
        )
        warnings.append(MercWarning("sides", text))
    return warnings


@dataclass(frozen=True)
class _TextAlone:
    """Stands for the recording of a piece without one; see `Piece.sha256`."""

    sha256: str
    duration: float = 0.0
    warnings: tuple[MercWarning, ...] = ()


class _Work(ExtractWork):
    """Extract one piece."""

    def __call__(self, piece: Piece, stage: Stage) -> Extracted:
        stage("open")
        if piece.path is None:
            return self._extract(piece, _TextAlone(piece.sha256), stage)
        with open_media(piece.path) as media:
            allow_time(stage, media.duration)
            return self._extract(piece, media, stage)

    def _extract(self, piece: Piece, media: Any, stage: Stage) -> Extracted:
        store, done, present = Store(self.root), {}, {}
        segmentation = piece.segmentation(media.duration)
        for modality in piece.modalities:
            stage(modality)
            view = _view(piece, modality)
            compute = SplitScreenFeatures(piece.sides) if view else compute_features
            extractor = self.extractors[modality]
            features, done[modality] = stored_features(
                store, media, segmentation, modality, extractor, compute, view
            )
            present[modality] = features.present
        store.add_name(media.sha256, piece.name)
        count, warnings = len(piece.utterances), list(media.warnings)
        return Extracted(piece.name, media.sha256, count, done, present, warnings)


def _view(piece: Piece, modality: str) -> dict[str, Any]:
    """Return what the fingerprint says about features from a part of the picture."""
    return {"view": {"halves": piece.sides}} if modality == "visual" and piece.sides else {}


class _Assembly:
    """Builds the corpus from the store: for each utterance the feature of the best place."""

    def __init__(
        self, store: Store, plan: Plan, extractors: dict[str, Any], results: Results
    ) -> None:
        self.store, self.plan, self.extractors = store, plan, extractors
        self.checksums = {
            # a recording that failed may have features in the store from an earlier run
            piece: result.medium if result else _checksum(piece.path)
            for piece, result in results.items()
        }
        self.read: dict[tuple[Piece, str], Features | None] = {}
        self.sides: dict[str, tuple[int, int]] = {}

    def corpus(self) -> tuple[Corpus, dict[str, tuple[int, int]]]:
        """Return the corpus and, per dialogue, the `agreement` of the sides."""
        raw = self.plan.corpus
        indices_of: dict[str, list[int]] = {}
        for index, utterance in enumerate(raw.utterances):
            indices_of.setdefault(utterance.dialogue, []).append(index)
        dialogues = [self._dialogue(name, indices) for name, indices in indices_of.items()]
        widths = {modality: extractor.dim for modality, extractor in self.extractors.items()}
        prints = {name: extractor.fingerprint for name, extractor in self.extractors.items()}
        corpus = Corpus(raw.name, LABELS[raw.name], dialogues, widths, prints, settings=raw.name)
        return corpus, self.sides

    def _dialogue(self, name: str, indices: list[int]) -> Dialogue:
        utterances: Sequence[RawUtterance] = [self.plan.corpus.utterances[k] for k in indices]
        features = {}
        for modality, extractor in self.extractors.items():
            features[modality] = np.full((len(indices), extractor.dim), np.nan, np.float32)
        for row, index in enumerate(indices):
            for modality, places in self.plan.places[index].items():
                features[modality][row] = self._vector(places, modality)
        times = None
        if any(u.side for u in utterances):  # MELD's times are those of clips, not of a dialogue
            times = np.array([(u.start, u.end) for u in utterances])
        return Dialogue(
            id=name,
            split=utterances[0].split,
            utterances=[u.name for u in utterances],
            speakers=[u.speaker for u in utterances],
            texts=[u.text for u in utterances],
            labels=np.array([u.label for u in utterances], np.int64),
            features=features,
            times=times,
        )

    def _vector(self, places: list[Place], modality: str) -> np.ndarray | float:
        for piece, row in places:
            features = self._features(piece, modality)
            if features and not np.isnan(features.vectors[row]).all():
                return features.vectors[row]
        return np.nan

    def _features(self, piece: Piece, modality: str) -> Features | None:
        if (piece, modality) not in self.read:
            fingerprint = {
                "extractor": self.extractors[modality].fingerprint,
                "segmentation": piece.source,
            } | _view(piece, modality)
            recording = self.checksums.get(piece)
            features = self.store.read(recording, modality, fingerprint) if recording else None
            self.read[piece, modality] = features
            if features and piece.sides and modality == "visual":
                self.sides[piece.name] = agreement(features.quality)
        return self.read[piece, modality]


def _checksum(path: Path | None) -> str | None:
    try:
        return sha256_of(path) if path else None
    except OSError:  # gone, or unreadable
        return None
