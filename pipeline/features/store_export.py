"""Export a store as a table for `merc train`, as Parquet, or in a published pickle layout."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.counts import counted
from pipeline.core.dialogue import MODALITIES, Corpus, Dialogue, Segmentation
from pipeline.core.errors import MercError, UsageError
from pipeline.core.files import write_bytes
from pipeline.core.fingerprints import fingerprint_id
from pipeline.corpora.published_writer import FORMATS as LAYOUTS
from pipeline.corpora.published_writer import write_layout
from pipeline.corpora.splits import SPLITS
from pipeline.corpora.table import save_table
from pipeline.features.store import Features, Store

__all__ = ["FORMATS", "IncompleteError", "collect", "export"]

TABLE_FILES = (
    "utterances.csv",
    "fingerprints.json",
    "table.json",
    *(f"{modality}.npy" for modality in MODALITIES),
)


class IncompleteError(MercError):
    """The store lacks what the extraction of some recordings would have made."""


def export(
    store: Store,
    out: Path,
    format: str = "table",
    fingerprints: Sequence[str] = (),
    overwrite: bool = False,
    split: str = "test",
    incomplete: bool = False,
) -> tuple[Corpus, list[str]]:
    """Write every recording of the store as an unlabelled dialogue.

    Args:
        out: a folder; for Parquet and pickles also a file name.
        format: a key of FORMATS.
        fingerprints: ids as `merc store ls` shows them, or their first digits. They choose between
            several kinds of features of one modality, or segmentations of one recording.
        overwrite: replace existing files. Without it they are an error: a table may hold labels
            that were filled in by hand.
        split: of every dialogue, "train", "valid" or "test".
        incomplete: also export recordings that lack what an extraction would have made.

    Returns:
        The corpus, and notes on what is left out.

    Raises MercError if the store is empty or damaged, or if the choice of features is ambiguous;
    the message lists what to choose from. Raises IncompleteError.

    Example::

        corpus, notes = export(Store(Path("store")), Path("table"))
    """
    if format not in FORMATS:
        raise UsageError(f"--format {format}: unknown", f"choose {', '.join(FORMATS)}")
    if split not in SPLITS:
        raise UsageError(f"--split {split}: unknown", f"choose {', '.join(SPLITS)}")
    existing = [path for path in _targets(out, format) if path.exists()]
    if existing and not overwrite:
        raise MercError(
            f"{existing[0]}: exists already", "name another --out, or replace it with --overwrite"
        )
    corpus = collect(store, fingerprints, split, incomplete)
    if format == "table":  # the array of a modality that the store lacks must not stay behind
        for path in existing:
            path.unlink()
    return corpus, [*corpus.notes, *(FORMATS[format](corpus, out) or [])]


def collect(
    store: Store,
    fingerprints: Sequence[str] = (),
    split: str = "test",
    incomplete: bool = False,
) -> Corpus:
    """Read all recordings of a store as a corpus without labels.

    Each recording has one segmentation, and the corpus one kind of features per modality. For
    the other arguments and errors see `export`.
    """
    recordings = []
    for checksum in store.recordings():
        features = [store.load(path) for path in store.files(checksum)]
        chosen = [f for f in features if _is_chosen(f, features, fingerprints)]
        recordings.append(_Recording(checksum, _name(store, checksum), chosen))
    if not any(recording.features for recording in recordings):
        raise MercError(
            f"{store.root}: no features in this store",
            f"fill it with: merc extract VIDEOS --out {store.root}",
        )
    extractors = _extractors(store, recordings)
    lacking = _lacking(store, recordings, extractors)
    if lacking and not incomplete:
        listed = "\n".join(f"  {line}" for line in lacking)
        raise IncompleteError(
            f"{store.root}: {counted(len(lacking), 'recording')} not completely extracted",
            f"run merc extract again, or export what there is with --incomplete:\n{listed}",
        )
    recordings = [recording for recording in recordings if recording.features]
    names = Counter(recording.name for recording in recordings)
    dialogues = []
    for recording in recordings:
        name = recording.name
        if names[name] > 1:
            name = f"{name}-{recording.checksum[:8]}"
        dialogues.append(_dialogue(recording, name, split))
    dialogues.sort(key=lambda dialogue: dialogue.id)
    widths = {}
    for recording in recordings:
        for feature in recording.features:
            widths[feature.modality] = feature.vectors.shape[1]
    notes = [f"Incomplete in the store: {line}." for line in lacking]
    empty = [dialogue.id for dialogue in dialogues if not dialogue.utterances]
    if empty:
        notes.append(f"Without utterances, so left out: {', '.join(empty)}.")
    return Corpus(
        store.root.resolve().name,
        (),
        [dialogue for dialogue in dialogues if dialogue.utterances],
        {modality: widths[modality] for modality in MODALITIES if modality in widths},
        extractors,
        notes,
    )


@dataclass(frozen=True)
class _Recording:
    checksum: str
    name: str
    features: list[Features]


def _lacking(store: Store, recordings: list[_Recording], extractors: Collection[str]) -> list[str]:
    """Describe what recordings lack that an extraction would have made.

    extractors: the modalities that the store has. A recording of a raw release, whose utterances
    are not stored, may have fewer: its sound may be in one file, and its words in another.
    """
    lines = []
    for recording in recordings:
        lacks = [f"{modality} features" for modality in extractors]
        if recording.features:
            made = {f"{feature.modality} features" for feature in recording.features}
            partial = not store.segment_files(recording.checksum)
            lacks = [] if partial else [name for name in lacks if name not in made]
        names, files = store.names(recording.checksum), store.name_files(recording.checksum)
        if len(names) < max(1, len(files)):  # a damaged file has no name
            lacks.append("a file name")  # an extraction adds it at its end
        if lacks:
            name = names[0] if names else recording.checksum[:16]
            lines.append(f"{name} lacks {', '.join(lacks)}")
    return lines


def _name(store: Store, checksum: str) -> str:
    names = store.names(checksum)
    return Path(names[0]).stem if names else checksum[:16]


def _is_chosen(feature: Features, features: list[Features], wanted: Sequence[str]) -> bool:
    """Return False if the ids on the command line name other features of its modality.

    features: all features of the recording.
    """
    candidates = [other for other in features if other.modality == feature.modality]
    for axis in range(3):  # of `_ids`
        named = [
            other
            for other in candidates
            if any(_ids(other)[axis].startswith(beginning) for beginning in wanted)
        ]
        candidates = named or candidates
    return any(feature is other for other in candidates)


def _ids(feature: Features) -> tuple[str, str, str]:
    """Return the ids of the features, of their extractor and of their segmentation."""
    return (
        feature.id,
        fingerprint_id(feature.fingerprint["extractor"]),
        fingerprint_id(feature.fingerprint["segmentation"]),
    )


def _extractors(store: Store, recordings: list[_Recording]) -> dict[str, dict[str, Any]]:
    """Return modality -> fingerprint of its extractor; raise MercError if there are several."""
    kinds: dict[str, dict[str, dict[str, Any]]] = {modality: {} for modality in MODALITIES}
    for recording in recordings:
        for feature in recording.features:
            extractor = feature.fingerprint["extractor"]
            kinds[feature.modality][fingerprint_id(extractor)] = extractor
    for modality, extractors in kinds.items():
        if len(extractors) > 1:
            listed = "\n".join(
                f"  {id}  {json.dumps(extractor, sort_keys=True)}"
                for id, extractor in sorted(extractors.items())
            )
            raise MercError(
                f"{store.root}: {len(extractors)} kinds of {modality} features",
                f"choose one with --fingerprint ID:\n{listed}",
            )
    return {name: next(iter(some.values())) for name, some in kinds.items() if some}


def _dialogue(recording: _Recording, name: str, split: str) -> Dialogue:
    by_source = {fingerprint_id(f.fingerprint["segmentation"]): f for f in recording.features}
    if len(by_source) > 1:
        listed = "\n".join(
            f"  {id}  {json.dumps(f.fingerprint['segmentation'], sort_keys=True)} "
            f"({len(f.utterances)} utterances)"
            for id, f in sorted(by_source.items())
        )
        raise MercError(
            f"{name}: {len(by_source)} segmentations into utterances",
            f"choose one with --fingerprint ID:\n{listed}",
        )
    first = recording.features[0]
    segmentation = Segmentation(first.utterances, first.fingerprint["segmentation"])
    features = {feature.modality: feature.vectors for feature in recording.features}
    return Dialogue.from_segmentation(name, segmentation, features, split)


def _targets(out: Path, format: str) -> list[Path]:
    """List the files that an export may write."""
    if format == "table":
        return [out / name for name in TABLE_FILES]
    return [_parquet_file(out) if format == "parquet" else _pickle_file(out, format)]


def _write_parquet(corpus: Corpus, out: Path) -> None:
    """Write one row per utterance.

    `<modality>_features` is a list of float32, null if missing. The file's metadata "merc" holds
    fingerprints and widths.
    """
    import pyarrow
    from pyarrow import parquet

    columns = [
        ("dialogue", pyarrow.string()),
        ("utterance", pyarrow.int32()),
        ("start", pyarrow.float64()),
        ("end", pyarrow.float64()),
        ("speaker", pyarrow.string()),
        ("text", pyarrow.string()),
        *((f"{m}_features", pyarrow.list_(pyarrow.float32())) for m in corpus.widths),
    ]
    about = {"fingerprints": corpus.fingerprints, "widths": corpus.widths}
    schema = pyarrow.schema(columns, {"merc": json.dumps(about, sort_keys=True)})
    rows = []
    for dialogue in corpus.dialogues:
        rows += [_parquet_row(dialogue, k, corpus.widths) for k in range(len(dialogue.utterances))]
    file = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema), file)
    write_bytes(_parquet_file(out), file.getvalue())


def _parquet_row(dialogue: Dialogue, k: int, widths: dict[str, int]) -> dict[str, Any]:
    assert dialogue.times is not None
    row: dict[str, Any] = {
        "dialogue": dialogue.id,
        "utterance": k,
        "start": dialogue.times[k, 0],
        "end": dialogue.times[k, 1],
        "speaker": dialogue.speakers[k],
        "text": dialogue.texts[k],
    }
    for modality in widths:
        vector = dialogue.features[modality][k] if modality in dialogue.features else None
        missing = vector is None or np.isnan(vector).all()
        row[f"{modality}_features"] = None if missing else vector
    return row


def _parquet_file(out: Path) -> Path:
    return out if out.suffix == ".parquet" else out / "utterances.parquet"


def _pickle_file(out: Path, layout: str) -> Path:
    return out if out.suffix == ".pkl" else out / f"{layout}.pkl"


def _write_pickle(layout: str) -> Callable[[Corpus, Path], list[str]]:
    return lambda corpus, out: write_layout(corpus, layout, _pickle_file(out, layout))


FORMATS: dict[str, Callable[[Corpus, Path], list[str] | None]] = {
    "table": save_table,
    "parquet": _write_parquet,
    **{layout: _write_pickle(layout) for layout in LAYOUTS},
}
