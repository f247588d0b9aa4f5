"""MELD's transcripts: who says what with which emotion, dialogue by dialogue."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["EMOTIONS", "Transcript", "read_meld_csv"]

EMOTIONS = ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")  # MELD's label ids
COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")


@dataclass(frozen=True)
class Transcript:
    """One dialogue of a MELD file: n utterances in order; labels (n,) int64 indexes EMOTIONS."""

    id: int
    utterances: list[int]
    speakers: list[str]
    texts: list[str]
    labels: np.ndarray


def meld_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, columns) of a MELD file, in its order; errors as `read_meld_csv`."""
    if not path.is_file():
        raise FileNotFoundError(
            f"no MELD transcript {path}; MELD's repository holds it as data/MELD/{path.name}"
        )
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("cp1252", errors="replace")
    reader = csv.DictReader(io.StringIO(text, newline=""))
    absent = [column for column in COLUMNS if column not in (reader.fieldnames or [])]
    if absent:
        raise ValueError(
            f"{path}: not a MELD transcript, it lacks the column {absent[0]} of {', '.join(COLUMNS)}"
        )
    yield from enumerate(reader, 2)


def read_meld_csv(path: Path) -> list[Transcript]:
    """Dialogues of `{train,dev,test}_sent_emo.csv` in order of their ids.

    UTF-8, else Windows-1252 (copies of MELD exist in both).  Raises ValueError for another kind of file,
    FileNotFoundError when there is none.
    """
    dialogues: dict[int, list[tuple[int, str, str, int]]] = {}
    for line, row in meld_rows(path):
        try:
            label = EMOTIONS.index(row["Emotion"].strip().lower())
            entry = (
                int(row["Utterance_ID"]),
                row["Speaker"].strip(),
                row["Utterance"].strip(),
                label,
            )
            dialogues.setdefault(int(row["Dialogue_ID"]), []).append(entry)
        except (ValueError, AttributeError) as error:
            raise ValueError(f"{path}, row {line}: no MELD utterance ({error})") from error
    result = []
    for number, rows in sorted(dialogues.items()):
        ids, speakers, texts, labels = zip(*sorted(rows), strict=True)
        result.append(
            Transcript(number, list(ids), list(speakers), list(texts), np.array(labels, np.int64))
        )
    return result
