"""The labelled utterances of a corpus as text: what a text encoder is fine-tuned on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from pipeline.core.dialogue import Corpus
from pipeline.core.errors import MercError, UsageError
from pipeline.corpora import Source, read_corpus
from pipeline.corpora.iemocap_release import read_iemocap_raw
from pipeline.corpora.meld_release import read_meld_raw
from pipeline.corpora.release import RawCorpus
from pipeline.corpora.splits import LABELS, SPLITS

__all__ = ["Line", "Lines", "load_lines"]

RELEASES = {"meld": read_meld_raw, "iemocap": read_iemocap_raw}
# kinds of findings in a release that cost utterances or their text
TEXT_FINDINGS = ("no transcript", "bad row", "row again", "no label", "still packed")


@dataclass(frozen=True)
class Line:
    """One utterance; label is an index into `Lines.labels`."""

    dialogue: str  # as in the published files
    utterance: str
    text: str
    label: int


@dataclass(frozen=True)
class Lines:
    """The labelled utterances of each split, in the order of the corpus."""

    name: str
    labels: tuple[str, ...]
    parts: dict[str, list[Line]]  # by split: train, valid, test
    remarks: list[str] = field(default_factory=list)  # on what the corpus lacks
    settings: str = ""  # name of the default settings, see `load_settings`
    wordless: int = 0  # utterances left out because they have no words

    @property
    def notes(self) -> list[str]:
        """What a report should say about the data."""
        if not self.wordless:
            return self.remarks
        return [*self.remarks, f"{self.wordless} lines without words are left out"]

    def texts(self, split: str) -> list[str]:
        """Return the texts of one split."""
        return [line.text for line in self.parts[split]]

    def truth(self, split: str) -> np.ndarray:
        """Return the labels (n,) of one split, int64."""
        return np.array([line.label for line in self.parts[split]], np.int64)

    def with_words(self, clean: Callable[[str], str]) -> Lines:
        """Leave out the utterances of which `clean` leaves no text."""
        parts = {
            split: [line for line in part if clean(line.text)] for split, part in self.parts.items()
        }
        dropped = sum(len(self.parts[split]) - len(parts[split]) for split in parts)
        return replace(self, parts=parts, wordless=self.wordless + dropped)

    def checked(self) -> Lines:
        """Return self; raise MercError if train or valid is empty, or train has a single class."""
        for split, purpose in (("train", "fine-tune on"), ("valid", "choose the best epoch on")):
            if not self.parts[split]:
                notes = "".join(f"\n  {note}" for note in self.notes)
                raise MercError(
                    f"{self.name}: no labelled line with words in the {split} part",
                    f"there must be some to {purpose}{notes}",
                )
        if len(set(self.truth("train").tolist())) < 2:
            label = self.labels[self.parts["train"][0].label]
            raise MercError(
                f"{self.name}: every line of the train part is {label!r}",
                "at least two classes are needed",
            )
        return self


def load_lines(source: Source, clean: Callable[[str], str] = str.strip) -> Lines:
    """Load the labelled utterances of a corpus; no recordings or features are needed.

    A release may be the recordings with their transcripts, or MELD's three *_sent_emo.csv files
    alone. Utterances of which `clean` leaves no text are left out.

    Raises:
        MercError: unreadable files, no utterances in train or valid, a single class, no text.

    Example::

        lines = load_lines(find_source("meld", Path("MELD.Raw")))
        lines.texts("train")[:3]
    """
    if source.kind == "release":
        assert source.path is not None
        lines = _of_release(RELEASES[source.name](source.path, probe=False))
    elif source.kind in ("table", "published"):
        lines = _of_corpus(read_corpus(source, features=False))
    else:
        raise UsageError(
            f"{source.name}: this corpus has no text",
            f"choose {', '.join(RELEASES)}, or a folder with a table (utterances.csv)",
        )
    return replace(lines, settings=source.settings).with_words(clean).checked()


def _of_release(corpus: RawCorpus) -> Lines:
    parts: dict[str, list[Line]] = {split: [] for split in SPLITS}
    for u in corpus.utterances:
        if u.label >= 0 and u.split in parts:
            parts[u.split].append(Line(u.dialogue, u.name, u.text, u.label))
    return Lines(corpus.name, LABELS[corpus.name], parts, _remarks(corpus))


def _remarks(corpus: RawCorpus) -> list[str]:
    """Summarise the findings that concern the text: how many of each kind, and the first."""
    findings = [finding for finding in corpus.findings if finding.kind in TEXT_FINDINGS]
    remarks = []
    for kind, count in Counter(finding.kind for finding in findings).items():
        first = next(finding for finding in findings if finding.kind == kind)
        remarks.append(f"{count} x {kind}, first: {first.item} ({first.detail})")
    return remarks


def _of_corpus(corpus: Corpus) -> Lines:
    parts: dict[str, list[Line]] = {split: [] for split in SPLITS}
    for split in SPLITS:
        for d in corpus.split(split):
            for k in np.flatnonzero(d.labels >= 0):
                parts[split].append(Line(d.id, d.utterances[k], d.texts[k], int(d.labels[k])))
    return Lines(corpus.name, corpus.labels, parts)
