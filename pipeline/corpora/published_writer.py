"""A corpus as the pickled tuple that other repositories' loaders read: sdt, mmgcn, cosmic.

sdt and cosmic hold four RoBERTa layers of 1024 (`merc extract --text-layers four` keeps them); mmgcn holds one text
feature.  None of them knows a missing feature or an utterance without a label: those become zeros and -1, and are
counted in the notes.  Written for any numpy: arrays are named `numpy.core`, which numpy 1 and 2 both know.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.dialogue import Corpus, Dialogue
from pipeline.core.files import write_bytes
from pipeline.corpora.layouts import LAYOUTS, ROBERTA, Layout
from pipeline.corpora.splits import LABELS

__all__ = ["FORMATS", "write_layout"]

FORMATS = ("sdt", "mmgcn", "cosmic")
LAYER = 1024  # RoBERTa-Large
AUDIO, VISUAL = (1582, 300), (342,)  # what the programs of these repositories are built for
ROOM = {"iemocap": 2, "meld": 9}  # speakers of a dialogue
SENTIMENT = {
    "neutral": 0,
    "joy": 1,
    "anger": 2,
    "disgust": 2,
    "fear": 2,
    "sadness": 2,
}  # surprise: either


def write_layout(corpus: Corpus, name: str, path: Path) -> list[str]:
    """Write one file; returns what the layout could not hold.

    IEMOCAP's variant (speakers M and F) for two-party dialogues, MELD's (one of nine, in order of first appearance)
    for others and for MELD itself.  Raises ValueError for widths or speakers that the layout cannot hold.
    """
    if name not in FORMATS:
        raise ValueError(f"no layout {name!r}; choose {', '.join(FORMATS)}")
    like = _like(corpus)
    layout = next(item for item in LAYOUTS if (item.name, item.corpus) == (name, like))
    _check(corpus, layout)
    for d in corpus.dialogues:
        if len(set(d.speakers)) > ROOM[like]:
            raise ValueError(
                f"dialogue {d.id}: {len(set(d.speakers))} speakers; the layout holds {ROOM[like]}"
            )
    notes = _notes(corpus, layout)
    keys = _keys(corpus, like)
    fields = tuple(_field(field, corpus, layout, keys) for field in layout.fields)
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=4).dump(fields)
    write_bytes(path, buffer.getvalue())
    return notes


def _like(corpus: Corpus) -> str:
    if corpus.labels in LABELS.values():
        return next(name for name, labels in LABELS.items() if labels == corpus.labels)
    return (
        "iemocap"
        if all(len(set(d.speakers)) <= ROOM["iemocap"] for d in corpus.dialogues)
        else "meld"
    )


def _check(corpus: Corpus, layout: Layout) -> None:
    widths = corpus.widths
    for modality, known in (("audio", AUDIO), ("visual", VISUAL)):
        if modality not in layout.fields:
            continue
        if modality not in widths:
            raise ValueError(
                f"layout {layout.name} holds {modality} and there is none: extract it, or choose cosmic"
            )
        if widths[modality] not in known:
            raise ValueError(
                f"layout {layout.name} holds {modality} of {' or '.join(map(str, known))}, "
                f"these are {widths[modality]} wide"
            )
    if "text" not in widths:
        raise ValueError(f"layout {layout.name} holds text and there is none: extract it")
    if "r1" in layout.fields and widths["text"] != len(ROBERTA) * LAYER:
        have = (
            "only one layer is stored"
            if widths["text"] == LAYER
            else f"the text is {widths['text']} wide"
        )
        raise ValueError(
            f"layout {layout.name} holds r1 to r4, four layers of {LAYER} each, and {have}: extract with "
            "--profile roberta --text-layers four, or choose mmgcn, which holds one"
        )


def _notes(corpus: Corpus, layout: Layout) -> list[str]:
    notes = []
    total = sum(len(d.labels) for d in corpus.dialogues)
    for modality in ("text", "audio", "visual"):
        if modality in layout.fields or modality == "text":
            lost = sum(
                int(np.isnan(_matrix(d, modality, corpus)).any(1).sum()) for d in corpus.dialogues
            )
            if lost:
                notes.append(
                    f"{modality} is missing for {lost} of {total} utterances: zeros, the layout has no mask"
                )
    bare = sum(int((d.labels < 0).sum()) for d in corpus.dialogues)
    if bare:
        notes.append(f"{bare} of {total} utterances have no label: -1")
    if not any(d.times is None for d in corpus.dialogues):
        notes.append("times of utterances are left out")
    if layout.corpus == "meld":
        notes.append("sentiment is that of the emotion, -1 for surprise, which may be either")
    if layout.name == "mmgcn":
        notes.append(
            f"text is {corpus.widths['text']} wide: give that width to the program that reads it"
        )
    return notes


def _matrix(dialogue: Dialogue, modality: str, corpus: Corpus) -> np.ndarray:
    absent = np.full((len(dialogue.labels), corpus.widths[modality]), np.nan, np.float32)
    return dialogue.features.get(modality, absent)


def _keys(corpus: Corpus, like: str) -> dict[str, Any]:
    """Dialogue id -> id in the file: MELD's are numbers."""
    numbers = like == "meld" and all(d.id.isascii() and d.id.isdigit() for d in corpus.dialogues)
    return {d.id: int(d.id) if numbers else d.id for d in corpus.dialogues}


def _field(name: str, corpus: Corpus, layout: Layout, keys: dict[str, Any]) -> Any:
    if name in ("train", "valid", "test"):
        parts = ("train", "valid") if name == "train" and "valid" not in layout.fields else (name,)
        return [keys[d.id] for d in corpus.dialogues if d.split in parts]
    if name == "extra":
        name = "sentiment"  # what the trailing field of MELD's files holds
    if name in ROBERTA:
        k = ROBERTA.index(name)
        return {
            keys[d.id]: _rows(_matrix(d, "text", corpus)[:, k * LAYER : (k + 1) * LAYER])
            for d in corpus.dialogues
        }
    if name in ("text", "audio", "visual"):
        return {keys[d.id]: _rows(_matrix(d, name, corpus)) for d in corpus.dialogues}
    make = {
        "ids": lambda d: list(d.utterances),
        "sentences": lambda d: list(d.texts),
        "labels": lambda d: [int(label) for label in d.labels],
        "sentiment": lambda d: [
            SENTIMENT.get(corpus.labels[k], -1) if k >= 0 else -1 for k in d.labels
        ],
        "speakers": _letters if layout.corpus == "iemocap" else _one_hot,
    }[name]
    return {keys[d.id]: make(d) for d in corpus.dialogues}


def _rows(matrix: np.ndarray) -> list[np.ndarray]:
    return [np.nan_to_num(row, nan=0.0).astype(np.float32) for row in matrix]


def _letters(dialogue: Dialogue) -> list[str]:
    """M and F as IEMOCAP has them; other names become M for the first to speak and F for the second."""
    names = list(dict.fromkeys(dialogue.speakers))
    return (
        list(dialogue.speakers)
        if set(names) <= {"M", "F"}
        else ["MF"[names.index(s)] for s in dialogue.speakers]
    )


def _one_hot(dialogue: Dialogue) -> list[list[float]]:
    names = list(dict.fromkeys(dialogue.speakers))
    return np.eye(ROOM["meld"])[[names.index(s) for s in dialogue.speakers]].tolist()


_Base: Any = pickle._Pickler  # type: ignore[attr-defined]


class _Pickler(_Base):
    def save_global(self, obj: Any, name: str | None = None) -> None:
        """numpy 2 says `numpy._core`, which numpy before 1.26 cannot read; `numpy.core` is understood by all."""
        module = getattr(obj, "__module__", None) or ""
        if not module.startswith("numpy._core."):
            return super().save_global(obj, name)
        self.write(
            pickle.GLOBAL + f"{module.replace('._core.', '.core.')}\n{obj.__name__}\n".encode()
        )
        return self.memoize(obj)
