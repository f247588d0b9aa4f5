"""The published IEMOCAP and MELD feature files: pickled tuples in seven layouts, known by what they hold.

Most fields map a dialogue id to a list over its utterances.  r1..r4 are the last four layers of a fine-tuned
RoBERTa-Large, r1 the last: SDT trains on r1, COSMIC and M3NET on the mean.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.dialogue import Corpus, Dialogue
from pipeline.corpora.splits import LABELS, SPLITS, describe_counts, known_missing, official_split
from pipeline.corpora.unpickle import load

__all__ = ["LAYOUTS", "TEXTS", "Layout", "Published", "read_published", "recognise"]

TEXTS = ("r1", "mean")
ROBERTA = ("r1", "r2", "r3", "r4")
MOST_VALUES = (
    2**28
)  # of features; MELD with all four layers has 2^26.  A file that repeats one vector may claim more
MOST_UTTERANCES = 10**6
WIDTHS = {
    "r1": (1024,),
    "mean of r1..r4": (1024,),
    "audio": (1582, 300),
    "visual": (342,),
    "text": (100, 600),
}


@dataclass(frozen=True)
class Layout:
    name: str
    corpus: str
    fields: tuple[str, ...]


def _layout(name: str, corpus: str, fields: str) -> Layout:
    return Layout(name, corpus, tuple(fields.replace("r1-r4", "r1 r2 r3 r4").split()))


LAYOUTS = (
    _layout("mmgcn", "iemocap", "ids speakers labels text audio visual sentences train test"),
    _layout("mmgcn", "meld", "ids speakers labels text audio visual sentences train test extra"),
    _layout("sdt", "iemocap", "ids speakers labels r1-r4 audio visual sentences train test"),
    _layout("sdt", "meld", "ids speakers labels r1-r4 audio visual sentences train test extra"),
    _layout(
        "cfn-esa",
        "meld",
        "ids speakers labels sentiment r1-r4 audio visual sentences train test extra",
    ),
    _layout("cosmic", "iemocap", "speakers labels r1-r4 sentences train test valid"),
    _layout("cosmic", "meld", "speakers labels sentiment r1-r4 sentences train test valid"),
)
KINDS = {  # what a field may hold; a field that is not here may hold anything
    "speakers": ("text", "numbers", "vectors"), "labels": ("numbers",), "sentiment": ("numbers",),
    "text": ("vectors",), "audio": ("vectors",), "visual": ("vectors",), "sentences": ("text",),
    **dict.fromkeys(ROBERTA, ("vectors",)), **dict.fromkeys(SPLITS, ("list of ids",)),
}  # fmt: skip


@dataclass(frozen=True)
class Published:
    """A corpus and how it was found; notes say what a report should say."""

    corpus: Corpus
    layout: Layout
    notes: list[str] = field(default_factory=list)


def read_published(path: Path, text: str = "r1") -> Published:
    """Read one published feature file; text is r1 (as SDT) or mean (of r1..r4, as COSMIC and M3NET).

    Raises PickleRefused, ValueError naming the file, the dialogue and what is wrong with it, or OSError.
    """
    if text not in TEXTS:
        raise ValueError(f"text {text!r}: want {' or '.join(TEXTS)}")
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    layout, values = recognise(load(path), path)
    parts, notes = _parts(layout, values, path)
    sources = _sources(layout, text)
    reader = _Reader(path, layout, values)
    dialogues = [reader.dialogue(name, split, sources) for split in SPLITS for name in parts[split]]
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    prints: dict[str, dict[str, Any]] = {
        modality: {
            "extractor": "published",
            "layout": layout.name,
            "field": source,
            "sha256": digest,
        }
        for modality, (source, _) in sources.items()
    }
    corpus = Corpus(layout.corpus, LABELS[layout.corpus], dialogues, reader.widths, prints)
    for modality, (source, _) in sources.items():
        if reader.widths[modality] not in WIDTHS[source]:
            notes.append(
                f"{modality} is {reader.widths[modality]} wide; published files have "
                f"{' or '.join(map(str, WIDTHS[source]))}"
            )
    notes += _counts(corpus)
    return Published(
        replace(corpus, notes=[f"{path.name}, {layout.name}'s layout", *notes]), layout, notes
    )


def recognise(value: Any, path: Path) -> tuple[Layout, dict[str, Any]]:
    """The layout of an unpickled file and its fields by name.  Raises ValueError for another structure."""
    if not isinstance(value, (tuple, list)):
        raise ValueError(
            f"{path}: holds a {type(value).__name__}, not the tuple of fields of a published file"
        )
    kinds = [_kind(item) for item in value]
    wrong: list[tuple[Layout, list[str]]] = []
    for layout in LAYOUTS:
        if len(layout.fields) != len(value):
            continue
        misfits = [
            f"field {k + 1} ({name}) is {kind}{_where(value[k])}, not {' or '.join(KINDS[name])}"
            for k, (name, kind) in enumerate(zip(layout.fields, kinds, strict=True))
            if name in KINDS and kind not in KINDS[name]
        ]
        if not misfits:
            return layout, dict(zip(layout.fields, value, strict=True))
        wrong.append((layout, misfits))
    if not wrong:
        sizes = sorted({len(layout.fields) for layout in LAYOUTS})
        raise ValueError(
            f"{path}: a tuple of {len(value)} fields ({', '.join(kinds[:16])}); published files have "
            f"{', '.join(map(str, sizes))}: is it features of IEMOCAP or MELD?"
        )
    layout, misfits = min(wrong, key=lambda item: len(item[1]))
    raise ValueError(f"{path}: like {layout.name}'s {layout.corpus} layout, but {misfits[0]}")


def _kind(value: Any) -> str:
    if isinstance(value, (list, tuple, set, frozenset)) or (
        isinstance(value, np.ndarray) and value.ndim == 1
    ):
        return (
            "list of ids"
            if all(isinstance(item, (str, int, np.integer)) for item in value)
            else "a list"
        )
    if not isinstance(value, dict):
        return f"a {type(value).__name__}"
    first = next((row for row in value.values() if _sized(row) and len(row)), None)
    if first is None:
        return "empty"
    item = next(iter(first))
    if isinstance(item, (str, bytes)):
        return "text"
    if isinstance(item, (int, np.integer)):
        return "numbers"
    return "vectors" if isinstance(item, (list, tuple, np.ndarray)) else f"of {type(item).__name__}"


def _shown(name: Any) -> str:
    """A name out of a file in a message: short, no control characters."""
    return str(name)[:60].encode("unicode_escape").decode()


def _text(item: Any) -> str:
    """As it can be written to a UTF-8 file."""
    text = item.decode("latin1") if isinstance(item, bytes) else str(item)
    return text.encode("utf-8", "replace").decode()


def _numbers(row: Any) -> bool:
    if isinstance(row, np.ndarray):
        return row.ndim == 1 and row.dtype.kind in "fiu"
    return isinstance(row, (list, tuple)) and all(
        isinstance(x, (int, float, np.number)) for x in row
    )


def _where(value: Any) -> str:
    """The dialogue that `_kind` looked at."""
    rows = value.items() if isinstance(value, dict) else ()
    first = next((name for name, row in rows if _sized(row) and len(row)), None)
    return "" if first is None else f" in dialogue {_shown(first)}"


def _sized(value: Any) -> bool:
    return isinstance(value, (list, tuple, set, frozenset)) or (
        isinstance(value, np.ndarray) and value.ndim > 0
    )


def _parts(
    layout: Layout, values: dict[str, Any], path: Path
) -> tuple[dict[str, list[Any]], list[str]]:
    """Split -> dialogue ids as the file has them; valid is the file's own, else the official dialogues of train."""
    corpus, notes = layout.corpus, []
    parts: dict[str, list[Any]] = {
        split: _listed(values[split], split, path) for split in SPLITS if split in values
    }
    for split in list(parts):
        absent = [
            name
            for name in parts[split]
            if str(name) in known_missing(corpus) and name not in values["labels"]
        ]
        parts[split] = [name for name in parts[split] if name not in absent]
        if not parts[split]:
            raise ValueError(f"{path}: the {split} split is empty")
    taken: dict[str, str] = {}
    for split, names in parts.items():
        for name in names:
            if taken.setdefault(str(name), split) != split:
                raise ValueError(
                    f"{path}: dialogue {_shown(name)} is in {taken[str(name)]} and in {split}; "
                    "a test on training dialogues means nothing"
                )
    if "valid" not in parts:
        parts["valid"] = [
            name for name in parts["train"] if official_split(corpus, str(name)) == "valid"
        ]
        parts["train"] = [
            name for name in parts["train"] if official_split(corpus, str(name)) != "valid"
        ]
        whose = "COSMIC's" if corpus == "iemocap" else "MELD's dev"
        if not parts["train"]:
            raise ValueError(
                f"{path}: the train split holds nothing but {whose} validation dialogues"
            )
        notes.append(
            f"the file has no validation split: {len(parts['valid'])} of its training dialogues, "
            f"{whose}, are valid"
            if parts["valid"]
            else f"the file has no validation split and none of {whose} validation dialogues"
        )
    spare = [name for name in values["labels"] if str(name) not in taken]
    if spare:
        notes.append(
            f"{len(spare)} dialogues are in no split and left out: {', '.join(map(_shown, spare[:5]))}"
        )
    return parts, notes


def _listed(names: Any, split: str, path: Path) -> list[Any]:
    """Ids in the order of the file; a set has none and is sorted, numbers as numbers."""
    if isinstance(names, (set, frozenset)):
        return sorted(names, key=lambda name: (isinstance(name, str), name))
    names = names.tolist() if isinstance(names, np.ndarray) else list(names)
    twice = (
        next((name for name in names if names.count(name) > 1), None)
        if len(set(names)) < len(names)
        else None
    )
    if twice is not None:
        raise ValueError(f"{path}: dialogue {_shown(twice)} is twice in the {split} split")
    return names


def _sources(layout: Layout, text: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Modality -> (name for the fingerprint, fields to average)."""
    sources: dict[str, tuple[str, tuple[str, ...]]] = {}
    if "r1" in layout.fields:
        sources["text"] = ("r1", ("r1",)) if text == "r1" else ("mean of r1..r4", ROBERTA)
    else:
        sources["text"] = ("text", ("text",))
    return sources | {m: (m, (m,)) for m in ("audio", "visual") if m in layout.fields}


class _Reader:
    """Dialogues out of the fields of one file, each checked; widths (modality -> int) grow as they are met."""

    def __init__(self, path: Path, layout: Layout, values: dict[str, Any]) -> None:
        self.path, self.layout, self.values = path, layout, values
        self.widths: dict[str, int] = {}
        self.held: dict[str, int] = {}  # what one field's vectors measure everywhere
        self.total = self.utterances = 0

    def dialogue(
        self, name: Any, split: str, sources: dict[str, tuple[str, tuple[str, ...]]]
    ) -> Dialogue:
        labels = self.labels(name)
        n = len(labels)
        self.utterances += n
        if self.utterances > MOST_UTTERANCES:
            self.fail(name, f"more than {MOST_UTTERANCES} utterances up to here")
        for other in (
            "sentiment",
            *ROBERTA,
        ):  # read or not, a field that disagrees means a damaged file
            if other in self.values:
                self.rows(name, other, n)
        features: dict[str, np.ndarray] = {}
        for modality, (_, fields) in sources.items():
            layers = [self.vectors(name, field, n) for field in fields]
            if len({layer.shape for layer in layers}) > 1:
                self.fail(name, f"{', '.join(fields)} differ in width")
            features[modality] = (
                layers[0] if len(layers) == 1 else np.mean(np.stack(layers), axis=0)
            )
            self.widths[modality] = features[modality].shape[1]
        texts = [_text(item) for item in self.rows(name, "sentences", n)]
        return Dialogue(
            _text(name), split, self.names(name, n), self.speakers(name, n), texts, labels, features
        )

    def fail(self, name: Any, reason: str) -> None:
        raise ValueError(f"{self.path}: dialogue {_shown(name)}: {reason}")

    def rows(self, name: Any, field: str, n: int | None = None) -> Any:
        """The list of a dialogue in a field, as long as the dialogue has labels."""
        content = self.values[field]
        if name not in content:
            self.fail(name, f"is in a split and has no {field}: the file is not whole")
        rows = content[name]
        if not _sized(rows):
            self.fail(name, f"{field} is a {type(rows).__name__}, not a list over utterances")
        if n is not None and len(rows) != n:
            self.fail(name, f"{len(rows)} {field} for {n} labels")
        return rows

    def labels(self, name: Any) -> np.ndarray:
        rows, known = self.rows(name, "labels"), LABELS[self.layout.corpus]
        if not len(rows):
            self.fail(name, "has no utterances")
        for k, label in enumerate(rows):
            if (
                isinstance(label, bool)
                or not isinstance(label, (int, np.integer))
                or not 0 <= label < len(known)
            ):
                self.fail(
                    name,
                    f"utterance {k + 1} has label {_shown(label)}; {self.layout.corpus} has "
                    f"0 to {len(known) - 1} ({', '.join(known)})",
                )
        return np.array([int(label) for label in rows], np.int64)

    def vectors(self, name: Any, field: str, n: int) -> np.ndarray:
        """(n, width) float32, finite, one width in the whole file."""
        rows = [
            row[0] if isinstance(row, np.ndarray) and row.ndim == 2 and len(row) == 1 else row
            for row in self.rows(name, field, n)
        ]
        for k, row in enumerate(rows):
            if not _numbers(row):
                self.fail(name, f"{field} of utterance {k + 1} is no list of numbers")
            width = self.held.setdefault(field, len(row))
            if len(row) != width or not width:
                self.fail(
                    name, f"{field} of utterance {k + 1} is {len(row)} wide, elsewhere {width}"
                )
        self.total += n * self.held[field]
        if self.total > MOST_VALUES:
            self.fail(
                name,
                f"more than {MOST_VALUES} feature values up to here: no published file is so large",
            )
        with np.errstate(over="ignore"):
            matrix = np.array(rows, dtype=np.float32)
        bad = ~np.isfinite(matrix).all(1)
        if bad.any():
            self.fail(
                name,
                f"{field} of utterance {int(bad.argmax()) + 1} is not finite (NaN or infinite)"
                + (f", and {int(bad.sum()) - 1} more" if bad.sum() > 1 else ""),
            )
        return matrix

    def speakers(self, name: Any, n: int) -> list[str]:
        """Names as they are; one-hot rows are numbered in order of first appearance, as MELD's are made."""
        rows = self.rows(name, "speakers", n)
        seen: dict[Any, str] = {}
        names = []
        for row in rows:
            if isinstance(row, (str, bytes, int, np.integer)):
                names.append(_text(row))
                continue
            if not _numbers(row) or len(row) > 64:
                self.fail(name, "a speaker is neither a name nor a one-hot row")
            names.append(seen.setdefault(tuple(float(x) for x in row), str(len(seen))))
        return names

    def names(self, name: Any, n: int) -> list[str]:
        """The file's utterance ids where it has one for each, else their numbers from 0."""
        ids = self.values.get("ids")
        rows = ids.get(name) if isinstance(ids, dict) else None
        if isinstance(rows, (list, tuple, np.ndarray)):
            rows = self.rows(name, "ids", n)
            if (
                all(isinstance(row, (str, int, np.integer)) for row in rows)
                and len(set(map(str, rows))) == n
            ):
                return [_text(row) for row in rows]
        return [str(k) for k in range(n)]


def _counts(corpus: Corpus) -> list[str]:
    found = {
        split: (len(part), sum(len(d.labels) for d in part))
        for split in SPLITS
        for part in [corpus.split(split)]
    }
    seen = np.bincount(
        np.concatenate([d.labels for d in corpus.split("train")]), minlength=len(corpus.labels)
    )
    unseen = [label for label, count in zip(corpus.labels, seen, strict=True) if not count]
    return describe_counts(corpus.name, found) + (
        [f"no training utterance is {', '.join(unseen)}: a model cannot learn it"] if unseen else []
    )
