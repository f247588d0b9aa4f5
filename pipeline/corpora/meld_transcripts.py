"""MELD's transcripts: speaker, text and emotion of every utterance, by dialogue."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.core.errors import MercError
from pipeline.corpora.splits import LABELS

__all__ = ["EMOTIONS", "Transcript", "meld_rows", "read_meld_csv"]

EMOTIONS = LABELS["meld"]
COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")


@dataclass(frozen=True)
class Transcript:
    """The n utterances of one dialogue, in order.

    labels: (n,) int64, indices of EMOTIONS.
    """

    id: int
    utterances: list[int]
    speakers: list[str]
    texts: list[str]
    labels: np.ndarray


def meld_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, columns) of a MELD file in its order; raises as `read_meld_csv`."""
    if not path.is_file():
        raise MercError(
            f"{path}: no such MELD transcript",
            f"download data/MELD/{path.name} from MELD's repository (declare-lab/MELD)",
        )
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("cp1252", errors="replace")
    reader = csv.DictReader(io.StringIO(text, newline=""))
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or [])]
    if missing:
        raise MercError(
            f"{path}: not a MELD transcript: it has no column {missing[0]}",
            f"use a file with the columns {', '.join(COLUMNS)}",
        )
    yield from enumerate(reader, 2)


def read_meld_csv(path: Path) -> list[Transcript]:
    """Read the dialogues of `{train,dev,test}_sent_emo.csv`, in the order of their ids.

    The file is read as UTF-8, otherwise as Windows-1252: copies of MELD exist in both.

    Raises MercError if the file is missing, has other columns, or has a row without valid ids or
    emotion.
    """
    dialogues: dict[int, list[tuple[int, str, str, int]]] = {}
    for line, row in meld_rows(path):
        try:
            label = EMOTIONS.index(row["Emotion"].strip().lower())
            number = int(row["Utterance_ID"])
            utterance = (number, row["Speaker"].strip(), row["Utterance"].strip(), label)
            dialogues.setdefault(int(row["Dialogue_ID"]), []).append(utterance)
        except (ValueError, AttributeError) as error:
            raise MercError(
                f"{path}, row {line}: not a MELD utterance ({error})", "correct or delete the row"
            ) from error
    transcripts = []
    for number, utterances in sorted(dialogues.items()):
        ids, speakers, texts, labels = map(list, zip(*sorted(utterances), strict=True))
        transcripts.append(Transcript(number, ids, speakers, texts, np.array(labels, np.int64)))
    return transcripts
