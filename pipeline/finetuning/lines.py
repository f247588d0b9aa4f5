"""Single labelled utterances of a corpus, without their media: what a text encoder is fine-tuned on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from pipeline.core.dialogue import Corpus
from pipeline.corpora import load_corpus
from pipeline.corpora.iemocap_release import read_iemocap_raw
from pipeline.corpora.locate import place_of
from pipeline.corpora.meld_release import read_meld_raw
from pipeline.corpora.release import RawCorpus, recognise_release
from pipeline.corpora.splits import LABELS, SPLITS
from pipeline.corpora.table import load_table

__all__ = ["Line", "Lines", "load_lines"]

RAW = {"meld": read_meld_raw, "iemocap": read_iemocap_raw}
LOST = (
    "no transcript",
    "bad row",
    "row again",
    "no label",
    "still packed",
)  # findings that concern the words


@dataclass(frozen=True)
class Line:
    """One utterance; label indexes `Lines.labels`."""

    dialogue: str  # as in the published files
    utterance: str
    text: str
    label: int


@dataclass(frozen=True)
class Lines:
    """Split -> labelled utterances with words, in the order of the corpus; notes go into the report."""

    name: str
    labels: tuple[str, ...]
    parts: dict[str, list[Line]]
    notes: list[str] = field(default_factory=list)

    def texts(self, split: str) -> list[str]:
        return [line.text for line in self.parts[split]]

    def truth(self, split: str) -> np.ndarray:
        """(n,) int64."""
        return np.array([line.label for line in self.parts[split]], np.int64)

    def spoken(self, clean: Callable[[str], str]) -> Lines:
        """Without the lines of which `clean` leaves nothing."""
        kept = {
            split: [line for line in part if clean(line.text)] for split, part in self.parts.items()
        }
        lost = sum(map(len, self.parts.values())) - sum(map(len, kept.values()))
        return (
            replace(
                self, parts=kept, notes=[*self.notes, f"{lost} lines without words are left out"]
            )
            if lost
            else self
        )


def load_lines(
    dataset: str, data: Path | None = None, clean: Callable[[str], str] = str.strip
) -> Lines:
    """The labelled lines of meld or iemocap (a raw release, MELD's transcripts alone, a published file) or of a table.

    Lines of which `clean` leaves nothing are left out.  Raises FileNotFoundError or ValueError with what was wrong and
    what to do: nothing there, an empty part, one class.
    """
    if dataset in RAW:
        place = place_of(dataset, data)
        release = recognise_release(place) if place.is_dir() else None
        if release and release != dataset:
            raise ValueError(
                f"{place}: this is a release of {release}, not of {dataset}; use --dataset {release}"
            )
        lines = (
            _raw(RAW[dataset](place, probe=False))
            if release
            else _corpus(load_corpus(dataset, place))
        )
    elif Path(dataset).is_dir():
        if data is not None:
            raise ValueError(
                f"--data {data}: a table folder ({dataset}) brings its own data; leave --data out"
            )
        lines = _corpus(load_table(Path(dataset), features=False))
    else:
        raise FileNotFoundError(
            f"{dataset}: no corpus with words that merc knows ({', '.join(RAW)}) and no folder of "
            "a table (utterances.csv)"
        )
    lines = lines.spoken(clean)
    for split, what in (
        ("train", "nothing to learn from"),
        ("valid", "no part to choose the best epoch on"),
    ):
        if not lines.parts[split]:
            raise ValueError(
                f"{lines.name}: no labelled line with words in the {split} part, so {what}"
                + "".join(f"\n  {note}" for note in lines.notes)
            )
    if len(set(lines.truth("train").tolist())) < 2:
        only = lines.labels[lines.parts["train"][0].label]
        raise ValueError(
            f"{lines.name}: every line of the train part is {only!r}; want at least two classes"
        )
    return lines


def _raw(corpus: RawCorpus) -> Lines:
    parts: dict[str, list[Line]] = {split: [] for split in SPLITS}
    for u in corpus.utterances:
        if u.label >= 0 and u.split in parts:
            parts[u.split].append(Line(u.dialogue, u.name, u.text, u.label))
    notes = [f"{count} x {kind}, first: {first}" for kind, (count, first) in _lost(corpus).items()]
    return Lines(corpus.name, LABELS[corpus.name], parts, notes)


def _lost(corpus: RawCorpus) -> dict[str, tuple[int, str]]:
    counts = Counter(f.kind for f in corpus.findings if f.kind in LOST)
    return {
        kind: (count, next(f"{f.item} ({f.detail})" for f in corpus.findings if f.kind == kind))
        for kind, count in counts.items()
    }


def _corpus(corpus: Corpus) -> Lines:
    parts = {
        split: [
            Line(d.id, d.utterances[k], d.texts[k], int(d.labels[k]))
            for d in corpus.split(split)
            for k in range(len(d.utterances))
            if d.labels[k] >= 0
        ]
        for split in SPLITS
    }
    return Lines(corpus.name, corpus.labels, parts)
