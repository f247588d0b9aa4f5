"""Read the published IEMOCAP and MELD feature files; see `layouts` for what they hold."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.dialogue import Corpus
from pipeline.core.errors import MercError, UsageError
from pipeline.core.fingerprints import sha256_of
from pipeline.corpora.layouts import ROBERTA, Layout, recognise
from pipeline.corpora.pickled_values import printable
from pipeline.corpora.published_dialogues import DialogueReader
from pipeline.corpora.splits import LABELS, SPLITS, describe_counts, known_missing, official_split
from pipeline.corpora.unpickle import load

__all__ = ["TEXTS", "Published", "read_published"]

TEXTS = ("r1", "mean")
WIDTHS = {  # of the files that were published
    "r1": (1024,),
    "mean of r1..r4": (1024,),
    "audio": (1582, 300),
    "visual": (342,),
    "text": (100, 600),
}


@dataclass(frozen=True)
class Published:
    """A corpus, the layout of its file, and notes for reports."""

    corpus: Corpus
    layout: Layout
    notes: list[str] = field(default_factory=list)


def read_published(path: Path, text: str = "r1") -> Published:
    """Read one published feature file. The pickle is read without executing it.

    Args:
        text: RoBERTa layers to use: "r1" (the last; as SDT does) or "mean" (of r1 to r4; as COSMIC
            and M3NET do).

    Raises:
        PickleRefused: the file is not a pickle, or holds more than data.
        MercError: unexpected content; names the file, the dialogue and what is wrong with it.

    Example::

        published = read_published(Path("iemocap_multimodal_features.pkl"))
        published.corpus.widths  # {"text": 1024, "audio": 1582, "visual": 342}
    """
    if text not in TEXTS:
        raise UsageError(f"text {text!r}: unknown value", f"choose {' or '.join(TEXTS)}")
    path = Path(path)
    if not path.is_file():
        raise MercError(f"{path}: no such file", "name a published feature file")
    layout, values = recognise(load(path), path)
    splits, notes = _splits(layout, values, path)
    sources = _sources(layout, text)
    fields = {modality: names for modality, (_, names) in sources.items()}
    reader = DialogueReader(path, layout, values, fields)
    dialogues = [reader.read(name, split) for split in SPLITS for name in splits[split]]
    checksum = sha256_of(path)
    fingerprints: dict[str, dict[str, Any]] = {}
    for modality, (source, _) in sources.items():
        fingerprints[modality] = {
            "extractor": "published",
            "layout": layout.name,
            "field": source,
            "sha256": checksum,
        }
        width = reader.widths[modality]
        if width not in WIDTHS[source]:
            published = " or ".join(map(str, WIDTHS[source]))
            notes.append(f"{modality} is {width} wide; published files have {published}")
    labels = LABELS[layout.corpus]
    corpus = Corpus(layout.corpus, labels, dialogues, reader.widths, fingerprints)
    notes += _counts(corpus)
    corpus = replace(corpus, notes=[f"{path.name}, {layout.name}'s layout", *notes])
    return Published(corpus, layout, notes)


def _splits(
    layout: Layout, values: dict[str, Any], path: Path
) -> tuple[dict[str, list[Any]], list[str]]:
    """Return the dialogue ids of each split, and notes.

    If the file has no valid split, it is made of the official dialogues that are in train.
    """
    corpus, notes = layout.corpus, []
    splits: dict[str, list[Any]] = {}
    for split in SPLITS:
        if split in values:
            splits[split] = _ids(values[split], split, path)
    for split, names in splits.items():
        splits[split] = [
            name
            for name in names
            if name in values["labels"] or str(name) not in known_missing(corpus)
        ]
        if not splits[split]:
            raise MercError(f"{path}: the {split} split is empty", "use a complete file")
    split_of = _check_disjoint(splits, path)
    if "valid" not in splits:
        notes.append(_split_valid_off(splits, corpus, path))
    unused = [name for name in values["labels"] if str(name) not in split_of]
    if unused:
        first = ", ".join(map(printable, unused[:5]))
        notes.append(f"{len(unused)} dialogues are in no split and left out: {first}")
    return splits, notes


def _ids(ids: Any, split: str, path: Path) -> list[Any]:
    """Return ids in the order of the file; those of a set, which has no order, are sorted."""
    if isinstance(ids, (set, frozenset)):
        return sorted(ids, key=lambda name: (isinstance(name, str), name))
    ids = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
    counts = Counter(ids)
    if len(counts) < len(ids):
        repeated = next(name for name, count in counts.items() if count > 1)
        raise MercError(
            f"{path}: dialogue {printable(repeated)} is twice in the {split} split",
            "use an original copy of the file",
        )
    return ids


def _check_disjoint(splits: dict[str, list[Any]], path: Path) -> dict[str, str]:
    """Return dialogue -> split; raise MercError for a dialogue that is in two splits."""
    split_of: dict[str, str] = {}
    for split, names in splits.items():
        for name in names:
            other = split_of.setdefault(str(name), split)
            if other != split:
                raise MercError(
                    f"{path}: dialogue {printable(name)} is in {other} and in {split}: "
                    "a test on training dialogues means nothing",
                    "use an original copy of the file",
                )
    return split_of


def _split_valid_off(splits: dict[str, list[Any]], corpus: str, path: Path) -> str:
    """Move the official validation dialogues from train to valid; return a note."""
    official = "COSMIC's" if corpus == "iemocap" else "MELD's dev"
    train: list[Any] = []
    valid: list[Any] = []
    for name in splits["train"]:
        (valid if official_split(corpus, str(name)) == "valid" else train).append(name)
    splits["train"], splits["valid"] = train, valid
    if not train:
        raise MercError(
            f"{path}: the train split holds nothing but {official} validation dialogues",
            "use a complete file",
        )
    if not valid:
        return f"the file has no validation split and none of {official} validation dialogues"
    return (
        f"the file has no validation split: {len(valid)} of its training dialogues, {official}, "
        "are valid"
    )


def _sources(layout: Layout, text: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return modality -> (name in the fingerprint, fields to average)."""
    sources: dict[str, tuple[str, tuple[str, ...]]] = {}
    if "r1" not in layout.fields:
        sources["text"] = ("text", ("text",))
    elif text == "r1":
        sources["text"] = ("r1", ("r1",))
    else:
        sources["text"] = ("mean of r1..r4", ROBERTA)
    for modality in ("audio", "visual"):
        if modality in layout.fields:
            sources[modality] = (modality, (modality,))
    return sources


def _counts(corpus: Corpus) -> list[str]:
    counts = {}
    for split in SPLITS:
        dialogues = corpus.split(split)
        counts[split] = (len(dialogues), sum(len(d.labels) for d in dialogues))
    lines = describe_counts(corpus.name, counts)
    train = np.concatenate([d.labels for d in corpus.split("train")])
    unseen = [label for k, label in enumerate(corpus.labels) if not (train == k).any()]
    if unseen:
        lines.append(f"no training utterance is {', '.join(unseen)}: a model cannot learn it")
    return lines
