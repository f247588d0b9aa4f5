"""The table dataset: utterances.csv beside row-aligned text.npy, audio.npy, visual.npy.

utterances.csv: columns dialogue,utterance,speaker,text,label,split and optional start,end
    (seconds). An empty label means context only.
text.npy, audio.npy, visual.npy: (rows, width) numbers; a row of NaN is a missing feature. A file
    may be absent.
fingerprints.json: modality -> what made the features. If absent, they are unknown and only widths
    can be checked.
table.json: {"name": …, "labels": […], "notes": […]}. Labels are in this order, by default
    alphabetical; notes are what a report on the corpus should state. merc adds "written", the
    SHA-256 of its utterances.csv, so that one which a person has changed is not replaced.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.core.dialogue import MODALITIES, Corpus, Dialogue
from pipeline.core.errors import MercError, UsageError
from pipeline.core.files import write_bytes, write_text
from pipeline.corpora.table_files import (
    COLUMNS,
    SPLITS,
    labels_of,
    read_about,
    read_arrays,
    read_fingerprints,
    read_rows,
    times_of,
)

__all__ = ["check_replaceable", "load_table", "save_table"]

MAX_NAMED = 5  # dialogues in a warning


def load_table(folder: Path, features: bool = True) -> Corpus:
    """Read and check a table.

    Args:
        features: False reads the utterances alone; then the arrays may be absent.

    Raises MercError naming the file and, if there is one, the dialogue.

    >>> from pipeline.corpora.synthetic import make_synthetic
    >>> save_table(make_synthetic(2, 1, 1), Path("table"))
    >>> load_table(Path("table")).widths
    {'text': 32, 'audio': 24, 'visual': 20}
    """
    folder = Path(folder)
    path = folder / "utterances.csv"
    rows = read_rows(path)
    arrays = read_arrays(folder, rows) if features else {}
    about = read_about(folder)
    labels = labels_of(about, folder, rows)
    label_numbers = {label: k for k, label in enumerate(labels)} | {"": -1}
    times = times_of(rows, path)
    dialogues = []
    for name, part in rows.groupby("dialogue", sort=False):
        index = part.index.to_numpy()
        dialogues.append(
            Dialogue(
                id=str(name),
                split=SPLITS[part["split"].iloc[0]],
                utterances=list(part["utterance"]),
                speakers=list(part["speaker"]),
                texts=list(part["text"]),
                labels=np.array([label_numbers[label] for label in part["label"]], np.int64),
                features={modality: array[index] for modality, array in arrays.items()},
                times=None if times is None else times[index],
            )
        )
    return Corpus(
        name=about.get("name") or folder.resolve().name,
        labels=labels,
        dialogues=dialogues,
        widths={modality: array.shape[1] for modality, array in arrays.items()},
        fingerprints=read_fingerprints(folder, arrays) if features else None,
        # those of a table that was saved again are in it already
        notes=list(dict.fromkeys([*about.get("notes", []), *_alike(labels), *_copies(dialogues)])),
    )


def save_table(corpus: Corpus, folder: Path) -> None:
    """Write a corpus as a table that `load_table` reads back equal.

    Files of an earlier table that this corpus lacks are deleted. Each file is written atomically,
    utterances.csv last.
    """
    folder = Path(folder)
    for modality in set(MODALITIES) - set(corpus.widths):
        (folder / f"{modality}.npy").unlink(missing_ok=True)
    for modality, width in corpus.widths.items():
        write_bytes(folder / f"{modality}.npy", _npy(corpus, modality, width))
    if corpus.fingerprints is None:
        (folder / "fingerprints.json").unlink(missing_ok=True)
    else:
        text = json.dumps(corpus.fingerprints, indent=1, sort_keys=True)
        write_text(folder / "fingerprints.json", text + "\n")
    table = _csv(corpus)
    written = [_digest(table.encode())]
    # where this is killed between two files, utterances.csv is one of both
    _write_about(corpus, folder, dict.fromkeys([*_written(folder), *written]))
    write_text(folder / "utterances.csv", table)
    _write_about(corpus, folder, written)


def _write_about(corpus: Corpus, folder: Path, written: Iterable[str]) -> None:
    about = {"name": corpus.name, "labels": list(corpus.labels), "notes": corpus.notes}
    content = about | {"written": list(written)}
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False)
    write_text(folder / "table.json", text + "\n")


def _written(folder: Path) -> list[str]:
    """Return the SHA-256 of each utterances.csv that merc may have written; [] if not known."""
    try:
        return list(read_about(folder).get("written", []))
    except MercError:  # it is replaced
        return []


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _alike(labels: tuple[str, ...]) -> list[str]:
    """Return a warning of labels that differ in case or spaces only."""
    spellings: dict[str, list[str]] = {}
    for label in labels:
        spellings.setdefault(" ".join(label.casefold().split()), []).append(label)
    alike = [" and ".join(map(repr, names)) for names in spellings.values() if len(names) > 1]
    if not alike:
        return []
    return [
        f"Labels that differ only in case or spaces are different classes: {'; '.join(alike)}. "
        "If they are the same, give them one spelling in utterances.csv."
    ]


def _copies(dialogues: list[Dialogue]) -> list[str]:
    """Return a warning of dialogues whose voices and faces are, bit for bit, in another split."""
    same: dict[bytes, list[Dialogue]] = {}
    for dialogue in dialogues:
        rows = [
            dialogue.features[name] for name in ("audio", "visual") if name in dialogue.features
        ]
        if any(np.isfinite(row).any() for row in rows):
            digest = hashlib.sha256(b"".join(row.tobytes() for row in rows)).digest()
            same.setdefault(digest, []).append(dialogue)
    leaks = [group for group in same.values() if len({d.split for d in group}) > 1]
    if not leaks:
        return []
    names = "; ".join(
        ", ".join(f"{d.id} ({d.split})" for d in group) for group in leaks[:MAX_NAMED]
    )
    more = "; ..." if len(leaks) > MAX_NAMED else ""
    return [
        f"The same dialogue is in more than one split, so figures are too high: {names}{more}. "
        "Give its copies one split in utterances.csv."
    ]


def check_replaceable(folder: Path, name: str, option: str = "--table") -> None:
    """Raise UsageError if a folder holds a table of another corpus than `name`, or a changed one.

    option: that names the folder, for the message.
    """
    path = folder / "utterances.csv"
    if not path.exists():
        return
    about = read_about(folder)
    if about.get("name") != name:
        raise UsageError(f"{option} {folder}: it holds another table", "name another folder")
    written = about.get("written")
    if written and _digest(path.read_bytes()) not in written:
        raise UsageError(
            f"{path}: was changed after merc wrote it, and would be replaced",
            "name another folder, or remove this file to have it written again",
        )


def _npy(corpus: Corpus, modality: str, width: int) -> bytes:
    parts = []
    for d in corpus.dialogues:
        missing = np.full((len(d.utterances), width), np.nan, np.float32)
        parts.append(d.features.get(modality, missing))
    buffer = io.BytesIO()
    np.save(buffer, np.concatenate(parts).astype(np.float32), allow_pickle=False)
    return buffer.getvalue()


def _csv(corpus: Corpus) -> str:
    timed = any(d.times is not None for d in corpus.dialogues)
    rows = []
    for d in corpus.dialogues:
        for k, utterance in enumerate(d.utterances):
            label = corpus.labels[d.labels[k]] if d.labels[k] >= 0 else ""
            row: list[Any] = [d.id, utterance, d.speakers[k], d.texts[k], label, d.split]
            if timed:
                row += ["", ""] if d.times is None else [repr(float(t)) for t in d.times[k]]
            rows.append(row)
    columns = [*COLUMNS, "start", "end"] if timed else list(COLUMNS)
    return pd.DataFrame(rows, columns=columns).to_csv(index=False, lineterminator="\n")
