"""Read and check the files of a table; `table` describes them."""

from __future__ import annotations

import tokenize
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.core.control_characters import has_control_characters
from pipeline.core.dialogue import MODALITIES
from pipeline.core.errors import MercError
from pipeline.core.schemas import About, Fingerprints, read_json
from pipeline.core.spreadsheet import check_width

__all__ = [
    "COLUMNS",
    "SPLITS",
    "labels_of",
    "read_about",
    "read_arrays",
    "read_fingerprints",
    "read_rows",
    "times_of",
]

COLUMNS = ("dialogue", "utterance", "speaker", "text", "label", "split")
# what numpy raises for damaged files; it parses their header as Python
DAMAGED = (
    ValueError,
    EOFError,
    TypeError,
    KeyError,
    OverflowError,
    MemoryError,
    RecursionError,
    SyntaxError,
    tokenize.TokenError,
    zipfile.BadZipFile,
)
SPLITS = {  # name in utterances.csv -> split
    "train": "train",
    "valid": "valid",
    "test": "test",
    "dev": "valid",
    "val": "valid",
    "validation": "valid",
}


def read_rows(path: Path) -> pd.DataFrame:
    """Read utterances.csv as text, one row for each utterance."""
    columns = ",".join(COLUMNS)
    if not path.is_file():
        raise MercError(
            f"{path}: no such file",
            f"a table is a folder with utterances.csv ({columns}) and text.npy, audio.npy, "
            "visual.npy",
        )
    try:
        check_width(path)
        rows = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise MercError(f"{path}: not UTF-8 ({error})", "save it as UTF-8") from error
    except ValueError as error:  # pandas' errors are ValueErrors
        reason = f"{path}: not a CSV table ({str(error).strip()})"
        raise MercError(reason, f"save it with the columns {columns}") from error
    missing = [column for column in COLUMNS if column not in rows.columns]
    if missing:
        raise MercError(
            f"{path}: no column {', '.join(missing)}", f"save it with the columns {columns}"
        )
    if rows.empty:
        raise MercError(f"{path}: no utterances, only a header", "add a row for each utterance")
    for column in ("dialogue", "label", "split"):
        rows[column] = rows[column].str.strip()
    _check_rows(rows, path)
    _check_splits(rows, path)
    return rows


def _check_rows(rows: pd.DataFrame, path: Path) -> None:
    unnamed = rows["dialogue"] == ""
    if unnamed.any():
        raise MercError(
            f"{path}: line {int(unnamed.idxmax()) + 2} names no dialogue", "name its dialogue"
        )
    repeated = rows.duplicated(["dialogue", "utterance"])
    if repeated.any():
        row = rows[repeated].iloc[0]
        raise MercError(
            f"{path}: dialogue {row['dialogue']} has utterance {row['utterance']!r} twice",
            "give each utterance of a dialogue its own name",
        )


def _check_splits(rows: pd.DataFrame, path: Path) -> None:
    unknown = ~rows["split"].isin(list(SPLITS))
    if unknown.any():
        row = rows[unknown].iloc[0]
        raise MercError(
            f"{path}: dialogue {row['dialogue']} has the unknown split {row['split']!r}",
            "choose train, valid or test",
        )
    splits = rows["split"].map(SPLITS).groupby(rows["dialogue"], sort=False).unique().map(sorted)
    shared = splits[splits.map(len) > 1]
    if len(shared):
        raise MercError(
            f"{path}: dialogue {shared.index[0]} is in {' and '.join(shared.iloc[0])}",
            "put all utterances of a dialogue in one split",
        )


def read_arrays(folder: Path, rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Read the features of every modality that has a file, (rows, width) float32 each."""
    paths = {modality: folder / f"{modality}.npy" for modality in MODALITIES}
    arrays = {modality: _array(path, rows) for modality, path in paths.items() if path.exists()}
    if not arrays:
        raise MercError(
            f"{folder}: no features",
            "add at least one of text.npy, audio.npy, visual.npy",
        )
    return arrays


def _array(path: Path, rows: pd.DataFrame) -> np.ndarray:
    """Read the features of one modality, (rows, width) float32."""
    try:
        # mapped: a header that claims more than the file holds allocates nothing
        array = np.load(path, allow_pickle=False, mmap_mode="r")
    except DAMAGED as error:
        raise MercError(
            f"{path}: not a plain array of numbers ({error})",
            "save it with numpy.save(file, array.astype('float32'))",
        ) from error
    plain = isinstance(array, np.ndarray) and array.ndim == 2 and array.dtype.kind in "fiu"
    if not plain or not array.shape[1]:
        kind, shape = getattr(array, "dtype", "an archive"), getattr(array, "shape", "")
        raise MercError(
            f"{path}: holds {kind} {shape}", "save numbers of shape (utterances, width)"
        )
    if len(array) != len(rows):
        raise MercError(
            f"{path}: {len(array)} rows for {len(rows)} utterances of utterances.csv",
            "save one row for each line of utterances.csv, in the same order",
        )
    with np.errstate(over="ignore"):
        array = np.array(array, np.float32)
    missing = np.isnan(array)
    _check_finite(
        np.isinf(array).any(1),
        "is infinite in float32",
        "save finite numbers, or a row of NaN for a missing feature",
        path,
        rows,
    )
    _check_finite(
        missing.any(1) & ~missing.all(1),
        "is NaN in some columns",
        "fill the whole row of a missing feature with NaN",
        path,
        rows,
    )
    return array


def _check_finite(
    bad: np.ndarray, problem: str, remedy: str, path: Path, rows: pd.DataFrame
) -> None:
    """Raise MercError naming the first row that is bad, if any."""
    if not bad.any():
        return
    index = int(bad.argmax())
    row = rows.iloc[index]
    place = f"dialogue {row['dialogue']}, utterance {row['utterance']} (row {index})"
    count = f" ({bad.sum()} such rows)" if bad.sum() > 1 else ""
    raise MercError(f"{path}: {place} {problem}{count}", remedy)


def labels_of(about: dict[str, Any], folder: Path, rows: pd.DataFrame) -> tuple[str, ...]:
    """Return the labels in their order; about: the content of table.json."""
    used = sorted(set(rows["label"]) - {""})
    for label in used:
        if has_control_characters(label):
            raise MercError(
                f"{folder / 'utterances.csv'}: label {label!r} has control characters",
                "remove them",
            )
    labels = tuple(used if about.get("labels") is None else about["labels"])
    unlisted = [label for label in used if label not in labels]
    if unlisted:
        dialogue = rows.loc[rows["label"] == unlisted[0], "dialogue"].iloc[0]
        raise MercError(
            f"{folder / 'utterances.csv'}: label {unlisted[0]!r} (dialogue {dialogue}) is not "
            f"among the labels of table.json: {', '.join(labels)}",
            "add it to table.json, or correct the label",
        )
    return labels


def times_of(rows: pd.DataFrame, path: Path) -> np.ndarray | None:
    """Return start and end of each row in seconds, (rows, 2); None without these columns."""
    if "start" not in rows or "end" not in rows:
        return None
    given = rows[["start", "end"]].replace("", "nan")
    times = given.apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    wrong = ~np.isfinite(times) & (given.to_numpy() != "nan")
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        value = f"{given.columns[column]} is {given.iloc[row, column]!r}"
        raise MercError(
            f"{path}, row {row + 1}: {value}, not a number of seconds",
            "write seconds, such as 12.5, or leave it empty",
        )
    return times


def read_about(folder: Path) -> dict[str, Any]:
    """Read table.json; {} if there is no such file."""
    path = folder / "table.json"
    return read_json(path, About) if path.exists() else {}


def read_fingerprints(
    folder: Path, arrays: dict[str, np.ndarray]
) -> dict[str, dict[str, Any]] | None:
    path = folder / "fingerprints.json"
    if not path.exists():
        return None
    fingerprints: dict[str, dict[str, Any]] = read_json(path, Fingerprints)
    if set(fingerprints) != set(arrays):
        described = ", ".join(sorted(fingerprints)) or "nothing"
        raise MercError(
            f"{path}: describes {described}, but the table has {', '.join(arrays)}",
            "write an object for each, or delete the file if they are unknown",
        )
    return fingerprints
