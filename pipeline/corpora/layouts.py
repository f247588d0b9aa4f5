"""The seven layouts of published IEMOCAP and MELD feature files, recognised by their structure.

A file is a pickled tuple of fields. Most fields map a dialogue id to a list with one item for each
utterance. r1 to r4 are the last four layers of a fine-tuned RoBERTa-Large, r1 the last one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import MercError
from pipeline.corpora.pickled_values import is_sequence, printable
from pipeline.corpora.splits import SPLITS

__all__ = ["LAYOUTS", "ROBERTA", "Layout", "recognise"]

ROBERTA = ("r1", "r2", "r3", "r4")


@dataclass(frozen=True)
class Layout:
    """The names of the fields of a file, in order."""

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
# field -> the kinds of content it may have, see `_kind`; other fields may hold anything
KINDS: dict[str, tuple[str, ...]] = {
    "speakers": ("text", "numbers", "vectors"),
    "labels": ("numbers",),
    "sentiment": ("numbers",),
    "text": ("vectors",),
    "audio": ("vectors",),
    "visual": ("vectors",),
    "sentences": ("text",),
    **dict.fromkeys(ROBERTA, ("vectors",)),
    **dict.fromkeys(SPLITS, ("list of ids",)),
}


def recognise(value: Any, path: Path) -> tuple[Layout, dict[str, Any]]:
    """Return the layout of an unpickled file, and its fields by name.

    Raises MercError for another structure.
    """
    if not isinstance(value, (tuple, list)):
        raise MercError(
            f"{path}: holds a {type(value).__name__}, not the tuple of fields of a published file",
            "name a published feature file of IEMOCAP or MELD",
        )
    candidates = [layout for layout in LAYOUTS if len(layout.fields) == len(value)]
    if not candidates:
        kinds = ", ".join(_kind(item) for item in value[:16])
        sizes = ", ".join(map(str, sorted({len(layout.fields) for layout in LAYOUTS})))
        raise MercError(
            f"{path}: a tuple of {len(value)} fields ({kinds}); published files have {sizes}",
            "name a published feature file of IEMOCAP or MELD",
        )
    misfits = {layout: _misfits(layout, value) for layout in candidates}
    layout = min(candidates, key=lambda candidate: len(misfits[candidate]))
    if misfits[layout]:
        raise MercError(
            f"{path}: like {layout.name}'s {layout.corpus} layout, but {misfits[layout][0]}",
            "download the file again, or use an original copy",
        )
    return layout, dict(zip(layout.fields, value, strict=True))


def _misfits(layout: Layout, value: Any) -> list[str]:
    """Describe the fields whose content the layout does not allow."""
    misfits = []
    for number, (name, content) in enumerate(zip(layout.fields, value, strict=True), 1):
        kind = _kind(content)
        if name in KINDS and kind not in KINDS[name]:
            place = f"field {number} ({name})"
            misfits.append(f"{place} is {kind}{_where(content)}, not {' or '.join(KINDS[name])}")
    return misfits


def _kind(value: Any) -> str:
    """Describe the content of a field by its first item."""
    one_dimensional = not isinstance(value, np.ndarray) or value.ndim == 1
    if is_sequence(value) and one_dimensional:
        ids = all(isinstance(item, (str, int, np.integer)) for item in value)
        return "list of ids" if ids else "a list"
    if not isinstance(value, dict):
        return f"a {type(value).__name__}"
    _, rows = _first(value)
    if rows is None:
        return "empty"
    item = next(iter(rows))
    if isinstance(item, (str, bytes)):
        return "text"
    if isinstance(item, (int, np.integer)):
        return "numbers"
    if isinstance(item, (list, tuple, np.ndarray)):
        return "vectors"
    return f"of {type(item).__name__}"


def _where(value: Any) -> str:
    """Name the dialogue that `_kind` looked at."""
    dialogue, rows = _first(value) if isinstance(value, dict) else (None, None)
    return "" if rows is None else f" in dialogue {printable(dialogue)}"


def _first(value: dict[Any, Any]) -> tuple[Any, Any]:
    """Return the first dialogue with items, and these; (None, None) if there is none."""
    for dialogue, rows in value.items():
        if is_sequence(rows) and len(rows):
            return dialogue, rows
    return None, None
