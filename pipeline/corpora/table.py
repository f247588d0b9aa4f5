"""The table dataset: utterances.csv beside row-aligned text.npy, audio.npy, visual.npy.

utterances.csv   dialogue,utterance,speaker,text,label,split and optional start,end (seconds); empty label = context
<modality>.npy   (rows, width) floats, a row of NaN = missing; a file may be absent
fingerprints.json   modality -> what made the features; absent = unknown, only widths can be checked
table.json       {"name": …, "labels": […], "notes": […]}: the order of the labels, absent = alphabetical; what a report
                 on the corpus should say, absent = nothing
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.core.dialogue import MODALITIES, Corpus, Dialogue
from pipeline.core.files import write_bytes, write_text

__all__ = ["load_table", "save_table"]

COLUMNS = ("dialogue", "utterance", "speaker", "text", "label", "split")
SPLITS = {
    "train": "train",
    "valid": "valid",
    "test": "test",
    "dev": "valid",
    "val": "valid",
    "validation": "valid",
}


def load_table(folder: Path, features: bool = True) -> Corpus:
    """Read and check a table; features False: its words alone, arrays are neither wanted nor read.

    Raises ValueError or FileNotFoundError naming the file, the dialogue and what to do.
    """
    folder = Path(folder)
    rows = _rows(folder / "utterances.csv")
    arrays = {
        m: _matrix(folder / f"{m}.npy", rows)
        for m in MODALITIES
        if features and (folder / f"{m}.npy").exists()
    }
    if features and not arrays:
        raise FileNotFoundError(
            f"{folder}: no features; want at least one of text.npy, audio.npy, visual.npy"
        )
    about = _json(folder / "table.json")
    found = sorted(set(rows["label"]) - {""})
    labels = tuple(about.get("labels", found))
    if not all(isinstance(label, str) for label in labels) or len(set(labels)) < len(labels):
        raise ValueError(f"{folder / 'table.json'}: labels must be a list of different names")
    notes = about.get("notes", [])
    if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
        raise ValueError(f"{folder / 'table.json'}: notes must be a list of sentences")
    unlisted = [label for label in found if label not in labels]
    if unlisted:
        where = rows.loc[rows["label"] == unlisted[0], "dialogue"].iloc[0]
        raise ValueError(
            f"{folder / 'utterances.csv'}: label {unlisted[0]!r} (dialogue {where}) is not among "
            f"the labels of table.json: {', '.join(labels)}"
        )
    number = {label: k for k, label in enumerate(labels)} | {"": -1}
    times = _times(rows, folder / "utterances.csv")
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
                labels=np.array([number[label] for label in part["label"]], np.int64),
                features={m: matrix[index] for m, matrix in arrays.items()},
                times=None if times is None else times[index],
            )
        )
    return Corpus(
        about.get("name", folder.resolve().name),
        labels,
        dialogues,
        {m: matrix.shape[1] for m, matrix in arrays.items()},
        _fingerprints(folder, arrays) if features else None,
        notes,
    )


def save_table(corpus: Corpus, folder: Path) -> None:
    """Write a corpus as a table that `load_table` reads back equal; each file whole or absent."""
    folder = Path(folder)
    timed = any(d.times is not None for d in corpus.dialogues)
    rows = []
    for d in corpus.dialogues:
        for k, utterance in enumerate(d.utterances):
            label = corpus.labels[d.labels[k]] if d.labels[k] >= 0 else ""
            row: list[Any] = [d.id, utterance, d.speakers[k], d.texts[k], label, d.split]
            if timed:
                row += ["", ""] if d.times is None else [repr(float(t)) for t in d.times[k]]
            rows.append(row)
    table = pd.DataFrame(rows, columns=[*COLUMNS, *(("start", "end") if timed else ())])
    for modality, width in corpus.widths.items():
        parts = [
            d.features.get(modality, np.full((len(d.utterances), width), np.nan, np.float32))
            for d in corpus.dialogues
        ]
        buffer = io.BytesIO()
        np.save(buffer, np.concatenate(parts).astype(np.float32), allow_pickle=False)
        write_bytes(folder / f"{modality}.npy", buffer.getvalue())
    about = {"name": corpus.name, "labels": list(corpus.labels), "notes": corpus.notes}
    write_text(
        folder / "table.json",
        json.dumps(about, indent=1, sort_keys=True, ensure_ascii=False) + "\n",
    )
    if corpus.fingerprints is not None:
        write_text(
            folder / "fingerprints.json",
            json.dumps(corpus.fingerprints, indent=1, sort_keys=True) + "\n",
        )
    write_text(folder / "utterances.csv", table.to_csv(index=False, lineterminator="\n"))


def _rows(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: missing; a table dataset is a folder with utterances.csv "
            f"({','.join(COLUMNS)}) and text.npy, audio.npy, visual.npy"
        )
    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error}); save it as UTF-8") from error
    except (pd.errors.EmptyDataError, pd.errors.ParserError) as error:
        raise ValueError(f"{path}: not a CSV table ({str(error).strip()})") from error
    lacking = [column for column in COLUMNS if column not in rows.columns]
    if lacking:
        raise ValueError(f"{path}: no column {', '.join(lacking)}; want {','.join(COLUMNS)}")
    if rows.empty:
        raise ValueError(f"{path}: no utterances, only a header")
    for column in ("dialogue", "label", "split"):
        rows[column] = rows[column].str.strip()
    if (rows["dialogue"] == "").any():
        raise ValueError(
            f"{path}: line {int((rows['dialogue'] == '').idxmax()) + 2} names no dialogue"
        )
    wrong = ~rows["split"].isin(list(SPLITS))
    if wrong.any():
        row = rows[wrong].iloc[0]
        raise ValueError(
            f"{path}: dialogue {row['dialogue']}, split {row['split']!r}: want train, valid or test"
        )
    twice = rows.duplicated(["dialogue", "utterance"])
    if twice.any():
        row = rows[twice].iloc[0]
        raise ValueError(
            f"{path}: dialogue {row['dialogue']} has utterance {row['utterance']!r} twice; "
            "utterance names must differ within a dialogue"
        )
    splits = (
        rows["split"]
        .map(SPLITS)
        .groupby(rows["dialogue"], sort=False)
        .agg(lambda s: sorted(set(s)))
    )
    shared = splits[splits.map(len) > 1]
    if len(shared):
        raise ValueError(
            f"{path}: dialogue {shared.index[0]} is in {' and '.join(shared.iloc[0])}; "
            "splits are by dialogue, put all its utterances in one"
        )
    return rows


def _matrix(path: Path, rows: pd.DataFrame) -> np.ndarray:
    try:
        matrix = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(
            f"{path}: not a plain array of numbers ({error}); save it with "
            "numpy.save(file, array.astype('float32'))"
        ) from error
    if (
        not isinstance(matrix, np.ndarray)
        or matrix.ndim != 2
        or not matrix.shape[1]
        or matrix.dtype.kind not in "fiu"
    ):
        raise ValueError(
            f"{path}: want numbers of shape (utterances, width), have "
            f"{getattr(matrix, 'dtype', 'an archive')} {getattr(matrix, 'shape', '')}"
        )
    if len(matrix) != len(rows):
        raise ValueError(
            f"{path}: {len(matrix)} rows for {len(rows)} utterances of utterances.csv; "
            "row k of each array belongs to line k of the table"
        )
    with np.errstate(over="ignore"):
        matrix = matrix.astype(np.float32)
    lost = np.isnan(matrix)
    partly = lost.any(1) & ~lost.all(1)
    for bad, what in (
        (np.isinf(matrix).any(1), "is infinite in float32"),
        (partly, "is NaN in some columns; a missing feature is a row of NaN throughout"),
    ):
        if bad.any():
            row = rows.iloc[int(bad.argmax())]
            raise ValueError(
                f"{path}: dialogue {row['dialogue']}, utterance {row['utterance']} (row "
                f"{int(bad.argmax())}) {what}"
                + (f"; {bad.sum()} such rows" if bad.sum() > 1 else "")
            )
    return matrix


def _times(rows: pd.DataFrame, path: Path) -> np.ndarray | None:
    if "start" not in rows or "end" not in rows:
        return None
    try:
        return rows[["start", "end"]].replace("", "nan").to_numpy(np.float64)
    except ValueError as error:
        raise ValueError(f"{path}: start and end are seconds, such as 12.5 ({error})") from error


def _json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: want a JSON object")
    return content


def _fingerprints(
    folder: Path, features: dict[str, np.ndarray]
) -> dict[str, dict[str, Any]] | None:
    path = folder / "fingerprints.json"
    if not path.exists():
        return None
    prints = _json(path)
    if set(prints) != set(features) or not all(
        isinstance(value, dict) for value in prints.values()
    ):
        raise ValueError(
            f"{path}: describes {', '.join(sorted(prints)) or 'nothing'} where the table has "
            f"{', '.join(features)}; write an object for each, or delete the file (unknown)"
        )
    return prints
