"""The store as a data set: a table that `merc train` reads, one Parquet file, or other repositories' pickles."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.dialogue import MODALITIES, Corpus, Dialogue
from pipeline.core.files import write_bytes
from pipeline.core.fingerprints import fingerprint_id
from pipeline.corpora.published_writer import FORMATS as LAYOUTS
from pipeline.corpora.published_writer import write_layout
from pipeline.corpora.table import save_table
from pipeline.features.store import Features, Store

__all__ = ["FORMATS", "collect", "export"]


def export(
    store: Store,
    out: Path,
    format: str = "table",
    fingerprints: Sequence[str] = (),
    overwrite: bool = False,
) -> tuple[Corpus, list[str]]:
    """Write every medium of the store as a dialogue; returns it and what the format could not hold.

    fingerprints: ids (or their beginnings), as `merc store ls` shows them, of the features to take where the store
    holds several kinds of one modality, or several segmentations of one medium.

    Raises ValueError when the store is empty, damaged, or the choice is open; the message lists it.
    """
    if format not in FORMATS:
        raise ValueError(f"--format {format}: choose from {', '.join(FORMATS)}")
    there = [path for path in _targets(out, format) if path.exists()]
    if there and not overwrite:  # labels may have been filled in
        raise FileExistsError(
            f"{there[0]} is there already; name another --out, or replace it with --overwrite"
        )
    corpus = collect(store, fingerprints)
    for path in there if format == "table" else ():  # a single file is replaced whole
        path.unlink()  # a modality that is no longer there must not stay behind
    return corpus, FORMATS[format](corpus, out) or []


def _targets(out: Path, format: str) -> list[Path]:
    if format == "parquet":
        return [_parquet_file(out)]
    if format in LAYOUTS:
        return [_pickle_file(out, format)]
    return [
        out / name
        for name in (
            "utterances.csv",
            "fingerprints.json",
            "table.json",
            *(f"{modality}.npy" for modality in MODALITIES),
        )
    ]


def collect(store: Store, fingerprints: Sequence[str] = ()) -> Corpus:
    """All dialogues of a store, one segmentation and at most one feature of each modality per medium; no labels."""
    found = [
        _Medium(medium, _name(store, medium), [store.load(path) for path in store.files(medium)])
        for medium in store.media()
    ]
    found = [medium for medium in found if medium.features]
    if not found:
        raise ValueError(
            f"{store.root}: no features; fill it with: merc extract VIDEOS --out {store.root}"
        )
    kinds: dict[str, dict[str, dict[str, Any]]] = {m: {} for m in MODALITIES}
    for medium in found:
        medium.features = [f for f in medium.features if _chosen(f, medium.features, fingerprints)]
        for feature in medium.features:
            extractor = feature.fingerprint["extractor"]
            kinds[feature.modality][fingerprint_id(extractor)] = extractor
    for modality, some in kinds.items():
        if len(some) > 1:
            listed = "\n".join(
                f"  {name}  {json.dumps(extractor, sort_keys=True)}"
                for name, extractor in sorted(some.items())
            )
            raise ValueError(
                f"{store.root}: {len(some)} kinds of {modality} features; name one with "
                f"--fingerprint ID:\n{listed}"
            )
    twice = {
        medium.name for medium in found if sum(other.name == medium.name for other in found) > 1
    }
    dialogues = [
        _dialogue(
            medium, f"{medium.name}-{medium.sha[:8]}" if medium.name in twice else medium.name
        )
        for medium in found
    ]
    dialogues.sort(key=lambda dialogue: dialogue.id)
    widths = {f.modality: f.vectors.shape[1] for medium in found for f in medium.features}
    prints = {modality: next(iter(some.values())) for modality, some in kinds.items() if some}
    return Corpus(
        store.root.resolve().name,
        (),
        [d for d in dialogues if d.utterances],
        {m: widths[m] for m in MODALITIES if m in widths},
        prints,
    )


@dataclass
class _Medium:
    sha: str
    name: str
    features: list[Features]


def _name(store: Store, medium: str) -> str:
    names = store.names(medium)
    return Path(names[0]).stem if names else medium[:16]


def _chosen(feature: Features, among: list[Features], wanted: Sequence[str]) -> bool:
    """False when the ids named on the command line pick other features of its modality."""
    rivals = [other for other in among if other.modality == feature.modality]
    for axis in range(3):  # its own id, its extractor's, its segmentation's
        named = [
            other for other in rivals if any(_ids(other)[axis].startswith(word) for word in wanted)
        ]
        rivals = named or rivals
    return any(feature is other for other in rivals)


def _ids(feature: Features) -> tuple[str, str, str]:
    return (
        feature.id,
        fingerprint_id(feature.fingerprint["extractor"]),
        fingerprint_id(feature.fingerprint["segmentation"]),
    )


def _dialogue(medium: _Medium, name: str) -> Dialogue:
    sources = {fingerprint_id(f.fingerprint["segmentation"]): f for f in medium.features}
    if len(sources) > 1:
        listed = "\n".join(
            f"  {key}  {json.dumps(f.fingerprint['segmentation'], sort_keys=True)} "
            f"({len(f.utterances)} utterances)"
            for key, f in sorted(sources.items())
        )
        raise ValueError(
            f"{name}: cut into utterances in {len(sources)} ways; name one with --fingerprint ID:\n"
            f"{listed}"
        )
    said = medium.features[0].utterances
    return Dialogue(
        id=name,
        split="test",
        utterances=[str(index) for index in range(len(said))],
        speakers=[u.speaker for u in said],
        texts=[u.text for u in said],
        labels=np.full(len(said), -1, np.int64),
        features={f.modality: f.vectors for f in medium.features},
        times=np.array([(u.start, u.end) for u in said], np.float64).reshape(-1, 2),
    )


def _parquet(corpus: Corpus, out: Path) -> None:
    """A row an utterance; `<modality>_features` lists of float32, null where missing; metadata "merc"."""
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
    schema = pyarrow.schema(
        columns,
        {
            "merc": json.dumps(
                {"fingerprints": corpus.fingerprints, "widths": corpus.widths}, sort_keys=True
            )
        },
    )
    rows = []
    for d in corpus.dialogues:
        assert d.times is not None
        for k in range(len(d.utterances)):
            row = {
                "dialogue": d.id,
                "utterance": k,
                "start": d.times[k, 0],
                "end": d.times[k, 1],
                "speaker": d.speakers[k],
                "text": d.texts[k],
            }
            for modality in corpus.widths:
                vector = d.features[modality][k] if modality in d.features else np.array([np.nan])
                row[f"{modality}_features"] = None if np.isnan(vector).all() else vector
            rows.append(row)
    file = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema), file)
    write_bytes(_parquet_file(out), file.getvalue())


def _parquet_file(out: Path) -> Path:
    return out if out.suffix == ".parquet" else out / "utterances.parquet"


def _pickle_file(out: Path, layout: str) -> Path:
    return out if out.suffix == ".pkl" else out / f"{layout}.pkl"


def _pickled(layout: str) -> Callable[[Corpus, Path], list[str]]:
    return lambda corpus, out: write_layout(corpus, layout, _pickle_file(out, layout))


FORMATS: dict[str, Callable[[Corpus, Path], list[str] | None]] = {
    "table": save_table,
    "parquet": _parquet,
    "sdt": _pickled("sdt"),
    "mmgcn": _pickled("mmgcn"),
    "cosmic": _pickled("cosmic"),
}
