"""`merc extract --dataset`: a raw release of IEMOCAP or MELD into the store, and out of it a labelled corpus."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.dialogue import Corpus, Dialogue
from pipeline.core.errors import UsageError
from pipeline.core.failures import Failure, run_each
from pipeline.core.files import check_folder
from pipeline.core.progress import NoProgress, Progress
from pipeline.corpora.iemocap_release import read_iemocap_raw
from pipeline.corpora.meld_release import read_meld_raw
from pipeline.corpora.release import POLICIES, RawCorpus, recognise_release
from pipeline.corpora.splits import LABELS, describe_counts
from pipeline.features.compute import features_of
from pipeline.features.extract import KEPT, Extracted, ExtractOptions, ExtractWork, stored_features
from pipeline.features.release_plan import Piece, Plan, plan_of, words_of
from pipeline.features.split_screen import SidedFeatures, agreement
from pipeline.features.store import Features, Store, default_store
from pipeline.media.decode import open_media

__all__ = ["CorpusSummary", "extract_corpus", "read_release"]


@dataclass(frozen=True)
class CorpusSummary:
    """What was made and kept, what failed, what the sides of split screens are like, and the corpus itself.

    sides: dialogue -> (mouths in the speaker's half, mouths in the other).
    """

    store: Path
    raw: RawCorpus
    files: list[Extracted]
    failures: list[Failure]
    corpus: Corpus
    sides: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def nothing_done(self) -> bool:
        return not any(how != KEPT for file in self.files for how in file.done.values())

    @property
    def warnings(self) -> list[str]:
        """Of the corpus as a whole."""
        kinds = Counter(finding.kind for finding in self.raw.findings)
        told = [f"{kind}: {count} ({POLICIES[kind]})" for kind, count in sorted(kinds.items())]
        own, looked = (
            sum(pair[0] for pair in self.sides.values()),
            sum(sum(pair) for pair in self.sides.values()),
        )
        if looked:
            told.append(
                f"sides: the mouth that moves with the sound is in the speaker's half in {own} of {looked} "
                "utterances looked at"
            )
        against = [name for name, (own, other) in self.sides.items() if other > own]
        if against:
            told.append(
                f"sides: against it in {len(against)} of {len(self.sides)} dialogues: {', '.join(against[:5])}"
                f"{' …' if len(against) > 5 else ''}; if that is most of them, exchange the sides (--left "
                "other, or --set data.left=other)"
            )
        return told


def read_release(dataset: str, data: Path, left: str = "letter") -> RawCorpus:
    """Utterances and findings of a raw release.  Raises FileNotFoundError or ValueError for another folder."""
    if dataset not in LABELS:
        raise UsageError(
            f"--dataset {dataset}: choose from {', '.join(LABELS)}; other media are named as PATHS"
        )
    if not data.is_dir():
        raise FileNotFoundError(
            f"--data {data}: no such folder; name IEMOCAP_full_release or MELD.Raw"
        )
    found = recognise_release(data)
    if found != dataset:
        what = (
            f"the raw release of {found}: use --dataset {found}"
            if found
            else "no raw release of it; are its "
            f"archives unpacked? `merc corpus check {data}` examines it"
        )
        raise ValueError(f"--data {data}: wanted {dataset}, this is {what}")
    corpus = read_meld_raw(data) if dataset == "meld" else read_iemocap_raw(data, left=left)
    if not corpus.utterances:
        raise ValueError(
            f"--data {data}: no utterance of {dataset} in it; `merc corpus check {data}` tells what lacks"
        )
    return corpus


def extract_corpus(
    dataset: str,
    data: Path,
    out: Path | None = None,
    options: ExtractOptions | None = None,
    jobs: int = 1,
    left: str = "letter",
    progress: Progress | None = None,
) -> CorpusSummary:
    """Extract every utterance of a raw release into the store `out`; what is there already is not made again.

    A clip gets the features that `merc extract CLIP` gives it with its line as transcript.  A medium that fails costs
    its utterances voice and face, not their words.  Raises UsageError, ValueError or OSError before any work.
    """
    options = options or ExtractOptions()
    root = out or default_store()
    check_folder(root)
    raw = read_release(dataset, data, left)
    work = _Work(root, options)
    assert work.extractors  # raises here, once, what would go wrong with every medium
    plan = plan_of(raw, options.modalities)
    progress = progress or NoProgress()
    progress.start(len(plan.pieces))
    results, failures = run_each(plan.pieces, work, jobs=jobs, progress=progress)
    made = dict(zip(plan.pieces, results, strict=True))
    lost = [piece for piece in _words_lost(plan, made) if piece not in made]
    progress.start(len(lost))
    more, also = run_each(lost, work, jobs=jobs, progress=progress)
    made |= dict(zip(lost, more, strict=True))
    unreadable = [
        Failure(f.item, "open", f.detail, f"{POLICIES[f.kind]}; copy it again from the release")
        for f in raw.findings
        if f.kind == "broken clip" and f.blocking
    ]
    hashes = {piece: one.medium if one else _sha256(piece.path) for piece, one in made.items()}
    corpus, sides = _assemble(Store(root), plan, work.extractors, hashes)
    summary = CorpusSummary(
        root,
        raw,
        [one for one in made.values() if one],
        [*unreadable, *failures, *also],
        corpus,
        sides,
    )
    corpus.notes.extend(
        [
            f"Raw release: {'; '.join(describe_counts(dataset, raw.counts()))}.",
            *raw.notes,
            *summary.warnings,
        ]
    )
    return summary


def _words_lost(plan: Plan, made: dict[Piece, Extracted | None]) -> list[Piece]:
    """The words of utterances whose medium failed."""
    return [
        words_of(said)
        for said, places in zip(plan.corpus.utterances, plan.places, strict=True)
        if "text" in places and not any(made.get(piece) for piece, _ in places["text"])
    ]


@dataclass(frozen=True)
class _Words:
    """Stands for the medium of an utterance that has none: the line itself."""

    sha256: str
    duration: float = 0.0
    warnings: tuple[str, ...] = ()


class _Work(ExtractWork):
    """Extract one piece."""

    def __call__(self, piece: Piece, tell: Callable[..., None]) -> Extracted:
        tell("open")
        if piece.path is None:
            return self._extract(piece, _Words(hashlib.sha256(piece.transcript).hexdigest()), tell)
        with open_media(piece.path) as media:
            return self._extract(piece, media, tell)

    def _extract(self, piece: Piece, media: Any, tell: Callable[..., None]) -> Extracted:
        store, done, present = Store(self.root), {}, {}
        segmentation = piece.segmentation(media.duration)
        for modality in piece.modalities:
            tell(modality)
            view = _view(piece, modality)
            make = SidedFeatures(piece.sides) if view else features_of
            features, done[modality] = stored_features(
                store, media, segmentation, modality, self.extractors[modality], make, view
            )
            present[modality] = int((~np.isnan(features.vectors).all(1)).sum())
        store.note_name(media.sha256, piece.name)
        return Extracted(
            piece.name, media.sha256, len(piece.lines), done, present, list(media.warnings)
        )


def _view(piece: Piece, modality: str) -> dict[str, Any]:
    """What enters a fingerprint where a feature comes from a part of the picture."""
    return {"view": {"halves": piece.sides}} if modality == "visual" and piece.sides else {}


def _assemble(
    store: Store, plan: Plan, extractors: dict[str, Any], hashes: dict[Piece, str | None]
) -> tuple[Corpus, dict[str, tuple[int, int]]]:
    """The corpus with what the store has of it: labels, splits and, for each modality, the best piece that has it."""
    kept: dict[tuple[Piece, str], Features | None] = {}
    sides: dict[str, tuple[int, int]] = {}

    def features(piece: Piece, modality: str) -> Features | None:
        if (piece, modality) not in kept:
            made_by = {"extractor": extractors[modality].fingerprint, "segmentation": piece.source}
            medium = hashes.get(piece)
            found = (
                store.read(medium, modality, made_by | _view(piece, modality)) if medium else None
            )
            kept[piece, modality] = found
            if found and piece.sides and modality == "visual":
                sides[piece.name] = agreement(found.quality)
        return kept[piece, modality]

    def best(places: list[tuple[Piece, int]], modality: str) -> np.ndarray | float:
        for piece, row in places:
            found = features(piece, modality)
            if found and not np.isnan(found.vectors[row]).all():
                return found.vectors[row]
        return np.nan

    widths = {modality: extractor.dim for modality, extractor in extractors.items()}
    dialogues: dict[str, list[int]] = {}
    for index, said in enumerate(plan.corpus.utterances):
        dialogues.setdefault(said.dialogue, []).append(index)
    corpus = []
    for name, indices in dialogues.items():
        own = [plan.corpus.utterances[k] for k in indices]
        matrices = {
            m: np.full((len(own), width), np.nan, np.float32) for m, width in widths.items()
        }
        for row, index in enumerate(indices):
            for modality, places in plan.places[index].items():
                matrices[modality][row] = best(places, modality)
        corpus.append(
            Dialogue(
                id=name,
                split=own[0].split,
                utterances=[u.name for u in own],
                speakers=[u.speaker for u in own],
                texts=[u.text for u in own],
                labels=np.array([u.label for u in own], np.int64),
                features=matrices,
                times=np.array([(u.start, u.end) for u in own])
                if any(u.side for u in own)
                else None,
            )
        )
    return Corpus(
        plan.corpus.name,
        LABELS[plan.corpus.name],
        corpus,
        widths,
        {m: extractor.fingerprint for m, extractor in extractors.items()},
    ), sides


def _sha256(path: Path | None) -> str | None:
    """Of a medium that failed: the modalities that it gave before are in the store."""
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:  # gone, or unreadable
        return None
