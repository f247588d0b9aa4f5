"""Write a corpus as the pickled tuple that other repositories read.

All but mmgcn, which has one text feature, hold four RoBERTa layers of 1024 (`merc extract
--text-layers four` stores them). M3NET reads what SDT reads; CFN-ESA and GraphSmile do too for
IEMOCAP, and have a layout of their own for MELD. None of them can express a missing feature or an
utterance without a label: those become zeros and -1, and are counted in the notes. Any numpy reads
the files: arrays are named `numpy.core`, which numpy 1 and 2 both know.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.dialogue import MODALITIES, Corpus, Dialogue
from pipeline.core.errors import MercError, UsageError
from pipeline.core.files import write_bytes
from pipeline.corpora.layouts import LAYOUTS, ROBERTA, Layout
from pipeline.corpora.splits import LABELS

__all__ = ["FORMATS", "write_layout"]

FORMATS = ("sdt", "mmgcn", "cosmic", "cfn-esa", "m3net")
SAME_AS_SDT = {("m3net", "iemocap"), ("m3net", "meld"), ("cfn-esa", "iemocap")}
LAYER = 1024  # width of a layer of RoBERTa-Large
WIDTHS = {"audio": (1582, 300), "visual": (342,)}  # that the other repositories can read
MOST_SPEAKERS = {"iemocap": 2, "meld": 9}  # of one dialogue
SENTIMENT = {  # surprise is missing: it may be either
    "neutral": 0,
    "joy": 1,
    "anger": 2,
    "disgust": 2,
    "fear": 2,
    "sadness": 2,
}


def write_layout(corpus: Corpus, name: str, path: Path, one_layer: bool = False) -> list[str]:
    """Write one file in a layout of FORMATS; return notes on what the layout cannot hold.

    Dialogues of two speakers are written in IEMOCAP's variant (speakers M and F), others, and MELD
    itself, in MELD's (one of nine, in order of first appearance). Labels of IEMOCAP or MELD get the
    numbers that they have there.

    one_layer: also write text of one layer, 1024 wide, as r1, r2, r3 and r4.

    Raises MercError for widths or numbers of speakers that the layout cannot hold.
    """
    if name not in FORMATS:
        raise UsageError(f"no layout {name!r}", f"choose {', '.join(FORMATS)}")
    corpus = _numbered_as_published(corpus)
    variant = _variant(corpus)
    known_as = "sdt" if (name, variant) in SAME_AS_SDT else name
    layout = next(item for item in LAYOUTS if (item.name, item.corpus) == (known_as, variant))
    repeated = one_layer and "r1" in layout.fields and corpus.widths.get("text") == LAYER
    if repeated:
        corpus = _four_times(corpus)
    _check_widths(corpus, layout)
    _check_speakers(corpus, variant)
    notes = _notes(corpus, layout)
    if repeated:
        notes.append("the text has one layer: r1, r2, r3 and r4 are the same")
    ids = _ids(corpus, variant)
    fields = tuple(_field(field, corpus, layout, ids) for field in layout.fields)
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=4).dump(fields)
    write_bytes(path, buffer.getvalue())
    return notes


def _variant(corpus: Corpus) -> str:
    """Return whose variant of a layout fits: that of iemocap or meld."""
    for name, labels in LABELS.items():
        if corpus.labels == labels:
            return name
    most = max((len(set(d.speakers)) for d in corpus.dialogues), default=0)
    return "iemocap" if most <= MOST_SPEAKERS["iemocap"] else "meld"


def _numbered_as_published(corpus: Corpus) -> Corpus:
    """Give the labels of IEMOCAP or MELD their published numbers, also if only some occur."""
    for labels in LABELS.values():
        if corpus.labels and set(corpus.labels) <= set(labels):
            number = np.array([labels.index(label) for label in corpus.labels] + [-1])
            dialogues = [replace(d, labels=number[d.labels]) for d in corpus.dialogues]
            return replace(corpus, labels=labels, dialogues=dialogues)
    return corpus


def _four_times(corpus: Corpus) -> Corpus:
    """Repeat the one text layer of a corpus."""
    dialogues = []
    for d in corpus.dialogues:
        text = np.tile(_features(d, "text", corpus), len(ROBERTA))
        dialogues.append(replace(d, features=d.features | {"text": text}))
    return replace(
        corpus, dialogues=dialogues, widths=corpus.widths | {"text": len(ROBERTA) * LAYER}
    )


def _check_widths(corpus: Corpus, layout: Layout) -> None:
    widths, holds = corpus.widths, f"layout {layout.name} holds"
    for modality, known in WIDTHS.items():
        if modality not in layout.fields:
            continue
        if modality not in widths:
            reason = f"{holds} {modality}, but the {modality} features are missing"
            raise MercError(reason, "extract them, or choose cosmic")
        if widths[modality] not in known:
            raise MercError(
                f"{holds} {modality} of width {' or '.join(map(str, known))}, but these features "
                f"are {widths[modality]} wide",
                "extract the default features, or choose cosmic",
            )
    if "text" not in widths:
        raise MercError(f"{holds} text, but the text features are missing", "extract them")
    if "r1" in layout.fields and widths["text"] != len(ROBERTA) * LAYER:
        problem = f"the text is {widths['text']} wide"
        if widths["text"] == LAYER:
            problem = "only one layer is stored"
        raise MercError(
            f"{holds} r1 to r4, four layers of {LAYER} each, but {problem}",
            "extract with --profile roberta --text-layers four, or choose mmgcn, which holds one",
        )


def _check_speakers(corpus: Corpus, variant: str) -> None:
    for d in corpus.dialogues:
        count = len(set(d.speakers))
        if count > MOST_SPEAKERS[variant]:
            raise MercError(
                f"dialogue {d.id}: {count} speakers; the layout holds {MOST_SPEAKERS[variant]}",
                "export a table instead",
            )


def _notes(corpus: Corpus, layout: Layout) -> list[str]:
    notes = []
    total = sum(len(d.labels) for d in corpus.dialogues)
    for modality in MODALITIES:
        if modality in layout.fields or modality == "text":
            rows = [np.isnan(_features(d, modality, corpus)).any(1) for d in corpus.dialogues]
            missing = sum(int(row.sum()) for row in rows)
            if missing:
                notes.append(
                    f"{modality} is missing for {missing} of {total} utterances: written as zeros, "
                    "the layout has no mask"
                )
    unlabelled = sum(int((d.labels < 0).sum()) for d in corpus.dialogues)
    if unlabelled:
        notes.append(f"{unlabelled} of {total} utterances have no label: written as -1")
    if corpus.labels and corpus.labels not in LABELS.values():
        numbers = ", ".join(f"{k} {label}" for k, label in enumerate(corpus.labels))
        notes.append(f"labels are written as numbers: {numbers}")
    for split in (name for name in ("train", "valid", "test") if name in layout.fields):
        if not corpus.split(split) and not (split == "train" and corpus.split("valid")):
            notes.append(f"the split {split} is empty")
    if not any(d.times is None for d in corpus.dialogues):
        notes.append("the times of utterances are left out")
    if layout.corpus == "meld":
        notes.append(
            "sentiment is derived from the emotion; -1 for surprise, which may be either, so a "
            "program that trains on the sentiment will stop at it"
            if "sentiment" in layout.fields
            else "sentiment is derived from the emotion; -1 for surprise, which may be either"
        )
    if layout.name == "mmgcn":
        width = corpus.widths["text"]
        notes.append(f"text is {width} wide: give that width to the program that reads it")
    return notes


def _features(dialogue: Dialogue, modality: str, corpus: Corpus) -> np.ndarray:
    missing = np.full((len(dialogue.labels), corpus.widths[modality]), np.nan, np.float32)
    return dialogue.features.get(modality, missing)


def _ids(corpus: Corpus, variant: str) -> dict[str, Any]:
    """Return dialogue id -> id in the file; MELD's are numbers."""
    digits = all(d.id.isascii() and d.id.isdigit() for d in corpus.dialogues)
    numbers = variant == "meld" and digits
    return {d.id: int(d.id) if numbers else d.id for d in corpus.dialogues}


def _field(name: str, corpus: Corpus, layout: Layout, ids: dict[str, Any]) -> Any:
    if name in ("train", "valid", "test"):
        splits = ("train", "valid") if name == "train" and "valid" not in layout.fields else (name,)
        return [ids[d.id] for d in corpus.dialogues if d.split in splits]
    items = _items("sentiment" if name == "extra" else name, corpus, layout)
    return {ids[d.id]: items(d) for d in corpus.dialogues}


def _items(name: str, corpus: Corpus, layout: Layout) -> Any:
    """Return the function that makes a dialogue's list of a field."""
    if name in ROBERTA:
        first = ROBERTA.index(name) * LAYER
        return lambda d: _rows(_features(d, "text", corpus)[:, first : first + LAYER])
    if name in MODALITIES:
        return lambda d: _rows(_features(d, name, corpus))
    return {
        "ids": lambda d: list(d.utterances),
        "sentences": lambda d: list(d.texts),
        "labels": lambda d: [int(label) for label in d.labels],
        "sentiment": lambda d: [_sentiment(corpus, label) for label in d.labels],
        "speakers": _letters if layout.corpus == "iemocap" else _one_hot,
    }[name]


def _sentiment(corpus: Corpus, label: int) -> int:
    return SENTIMENT.get(corpus.labels[label], -1) if label >= 0 else -1


def _rows(matrix: np.ndarray) -> list[np.ndarray]:
    return [np.nan_to_num(row, nan=0.0).astype(np.float32) for row in matrix]


def _letters(dialogue: Dialogue) -> list[str]:
    """Return M and F as in IEMOCAP; of other names the first to speak is M, the second F."""
    names = list(dict.fromkeys(dialogue.speakers))
    if set(names) <= {"M", "F"}:
        return list(dialogue.speakers)
    return ["MF"[names.index(speaker)] for speaker in dialogue.speakers]


def _one_hot(dialogue: Dialogue) -> list[list[float]]:
    names = list(dict.fromkeys(dialogue.speakers))
    rows = [names.index(speaker) for speaker in dialogue.speakers]
    return np.eye(MOST_SPEAKERS["meld"])[rows].tolist()


_Base: Any = pickle._Pickler  # type: ignore[attr-defined]


class _Pickler(_Base):
    def save_global(self, obj: Any, name: str | None = None) -> None:
        """Write `numpy.core` for numpy 2's `numpy._core`, which numpy before 1.26 cannot read."""
        module = getattr(obj, "__module__", None) or ""
        if not module.startswith("numpy._core."):
            return super().save_global(obj, name)
        module = module.replace("._core.", ".core.")
        self.write(pickle.GLOBAL + f"{module}\n{obj.__name__}\n".encode())
        return self.memoize(obj)
