"""The table dataset: utterances.csv beside row-aligned text.npy, audio.npy, visual.npy.

utterances.csv: columns dialogue,utterance,speaker,text,label,split and optional start,end
    (seconds). An empty label means context only.
text.npy, audio.npy, visual.npy: (rows, width) numbers; a row of NaN is a missing feature. A file
    may be absent.
fingerprints.json: modality -> what made the features. If absent, they are unknown and only widths
    can be checked.
table.json: {"name": …, "labels": […], "notes": […]}. Labels are in this order, by default
    alphabetical; notes are what a report on the corpus should state.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.core.dialogue import MODALITIES, Corpus, Dialogue
from pipeline.core.errors import UsageError
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
        notes=_notes(about.get("notes", []), labels),
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
    about = {"name": corpus.name, "labels": list(corpus.labels), "notes": corpus.notes}
    text = json.dumps(about, indent=1, sort_keys=True, ensure_ascii=False)
    write_text(folder / "table.json", text + "\n")
    if corpus.fingerprints is None:
        (folder / "fingerprints.json").unlink(missing_ok=True)
    else:
        text = json.dumps(corpus.fingerprints, indent=1, sort_keys=True)
        write_text(folder / "fingerprints.json", text + "\n")
    write_text(folder / "utterances.csv", _csv(corpus))


def _notes(notes: list[str], labels: tuple[str, ...]) -> list[str]:
    """Add a warning to the notes of a table for labels that differ in case or spaces only."""
    spellings: dict[str, list[str]] = {}
    for label in labels:
        spellings.setdefault(" ".join(label.casefold().split()), []).append(label)
    alike = [" and ".join(map(repr, names)) for names in spellings.values() if len(names) > 1]
    if not alike:
        return notes
    note = (
        f"Labels that differ only in case or spaces are different classes: {'; '.join(alike)}. "
        "If they are the same, give them one spelling in utterances.csv."
    )
    return notes if note in notes else [*notes, note]


def check_replaceable(folder: Path, name: str, option: str = "--table") -> None:
    """Raise UsageError if a folder holds a table of another corpus than `name`.

    option: that names the folder, for the message.
    """
    if not (folder / "utterances.csv").exists():
        return
    about = folder / "table.json"
    if about.exists() and f'"name": "{name}"' in about.read_text("utf-8", errors="replace"):
        return
    raise UsageError(f"{option} {folder}: it holds another table", "name another folder")


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
