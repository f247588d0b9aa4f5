"""Choose the tiers of an annotation file that hold utterances."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise

from pipeline.core.dialogue import Utterance, Word
from pipeline.segmentation.transcripts.source import Source
from pipeline.segmentation.turns import split_turns

__all__ = ["Interval", "Tier", "utterances_of_tiers"]

_SILENCE = frozenset(["", *"sil sp spn <eps> <sil> <p> <p:> <sp> # pau <silence>".split()])
_PHONES = re.compile(r"phon|phn|\bmau\b|\bkan\b|\bsegments?\b|syll|\bpitch|\btones?\b", re.I)
_WORDS = re.compile(r"(?<![a-z])(?:words?|wrd|tokens?|ort-mau|ort)(?![a-z])", re.IGNORECASE)
_EMOTIONS = re.compile(r"emotion|affect|mood|valence|arousal|dominance|sentiment", re.IGNORECASE)
_LABELS = re.compile(
    rf"{_EMOTIONS.pattern}|labels?(?![a-z])|categor|"
    r"(?<![a-z])(?:pos|gloss|translation|notes?|comments?|gestures?|gaze|posture|head|laughter|"
    r"overlap|turns?_?id|ids?)(?![a-z])",
    re.IGNORECASE,
)
# a tier named after what it holds, not after who speaks
_GENERIC = re.compile(
    r"(?<![a-z])(?:words?|wrd|tokens?|utterances?|utt|sentences?|texts?|transcripts?|"
    r"transcriptions?|speech|orthography|ort|phrases?|turns?|ipus?|default|tx|ort-mau|chunks?)"
    r"(?![a-z])",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Interval:
    """An annotation; start and end in seconds."""

    start: float
    end: float
    text: str


@dataclass
class Tier:
    """A tier of an annotation file.

    speaker: who speaks in it, if the file says so.
    points: the texts of annotations without an end.
    """

    name: str
    intervals: list[Interval] = field(default_factory=list)
    points: list[str] = field(default_factory=list)
    speaker: str = ""

    @property
    def filled(self) -> list[Interval]:
        return [i for i in self.intervals if i.text.lower() not in _SILENCE]


def utterances_of_tiers(tiers: list[Tier], source: Source) -> list[Utterance]:
    """Return the utterances of the tiers that hold them.

    Tiers of phones and labels are not used. A tier of words is used if its speaker has no other:
    its words are joined into utterances as recognised words are. Other tiers are named in a
    warning.
    """
    tiers = [tier for tier in tiers if tier.filled or tier.points]
    speech = [t for t in tiers if t.filled and not _LABELS.search(t.name)]
    speech = [t for t in speech if not _PHONES.search(t.name)] or speech
    by_speaker: dict[str, list[Tier]] = {}
    for tier in speech:
        by_speaker.setdefault(_speaker(tier), []).append(tier)
    used: list[Utterance] = []
    chosen: list[str] = []
    for speaker, own in by_speaker.items():
        whole = [tier for tier in own if not _holds_words(tier)]
        for tier in whole or own[:1]:
            used += _utterances(tier, speaker, join=not whole)
            chosen.append(tier.name)
    unused = [tier.name for tier in tiers if tier.name not in chosen]
    if unused and used:
        emotions = [name for name in dict.fromkeys(unused) if _EMOTIONS.search(name)]
        others = [name for name in dict.fromkeys(unused) if name not in emotions]
        if emotions:
            source.ignore_emotions(f"tiers {', '.join(emotions)}")
        if others:
            source.warn(
                "these tiers hold words, labels, phones or points and are not used: "
                + ", ".join(others)
            )
    return sorted(used, key=lambda u: (u.start, u.end))


def _speaker(tier: Tier) -> str:
    """Return the speaker of a tier: what its name says besides what it holds.

    "Anna - words" is Anna's, "utterance" nobody's.
    """
    if tier.speaker:
        return tier.speaker
    name, count = _GENERIC.subn(" ", tier.name)
    return " ".join((name.strip(" -_./|:()[]@") if count else name).split())


def _holds_words(tier: Tier) -> bool:
    """Whether each interval holds one word of a longer utterance."""
    if _WORDS.search(tier.name):
        return True
    filled = tier.filled
    single = sum(len(i.text.split()) == 1 for i in filled)
    touching = sum(abs(b.start - a.end) < 0.05 for a, b in pairwise(filled))
    return len(filled) >= 5 and single >= 0.95 * len(filled) and touching >= 0.5 * len(filled)


def _utterances(tier: Tier, speaker: str, join: bool) -> list[Utterance]:
    if not join:
        return [Utterance(i.start, i.end, i.text, speaker) for i in tier.filled]
    words = [Word(i.start, i.end, f" {i.text}", 1.0) for i in tier.filled]
    utterances = []
    for turn in split_turns(words):
        text = "".join(word.text for word in turn).strip()
        utterances.append(Utterance(turn[0].start, turn[-1].end, text, speaker))
    return utterances
