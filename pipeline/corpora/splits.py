"""The official splits of IEMOCAP and MELD, by the dialogue ids of the published files.

IEMOCAP's validation split is that of COSMIC (Ghosal et al. 2020); MELD's splits are the original
ones (Poria et al. 2019).
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

from pipeline.core.counts import counted

__all__ = [
    "COUNTS",
    "LABELS",
    "OFFSETS",
    "SPLITS",
    "describe_counts",
    "expected_dialogues",
    "iemocap_utterances",
    "known_missing",
    "official_split",
]

SPLITS = ("train", "valid", "test")
LABELS = {  # in the order of the label numbers in every published file
    "iemocap": ("happy", "sad", "neutral", "angry", "excited", "frustrated"),
    "meld": ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger"),
}
COUNTS = {  # dialogues and utterances, as in the literature
    "iemocap": {"train": (108, 5163), "valid": (12, 647), "test": (31, 1623)},
    "meld": {"train": (1038, 9989), "valid": (114, 1109), "test": (280, 2610)},
}
# MELD's published id = id in the CSV of its split + offset
OFFSETS = {"train": 0, "valid": 1039, "test": 1153}


def official_split(corpus: str, dialogue: str) -> str | None:
    """Return the split of a dialogue of iemocap or meld; None for an id that they do not have.

    >>> official_split("meld", "1039")
    'valid'
    """
    return _splits(corpus).get(dialogue)


def known_missing(corpus: str) -> frozenset[str]:
    """Return the ids in the range of a split that never existed: MELD's training dialogue 60."""
    return frozenset(str(k) for k in _content()[corpus].get("train_missing", ()))


def expected_dialogues(corpus: str, split: str) -> list[str]:
    """Return the ids of the dialogues of a split, in the order of the corpus.

    >>> expected_dialogues("meld", "test")[:2]
    ['1153', '1154']
    """
    missing = known_missing(corpus)
    return [
        dialogue
        for dialogue, part in _splits(corpus).items()
        if part == split and dialogue not in missing
    ]


def iemocap_utterances() -> dict[str, int]:
    """Return the number of labelled utterances of each IEMOCAP dialogue in the published files.

    >>> sum(iemocap_utterances().values())
    7433
    """
    return dict(_content()["iemocap"]["utterances"])


def describe_counts(corpus: str, counts: dict[str, tuple[int, int]]) -> list[str]:
    """Compare the dialogues and utterances of each split with those of the literature.

    >>> describe_counts("meld", {"train": (1038, 9989)})[0]
    'train: 1038 dialogues / 9989 utterances (as in the literature)'
    """
    lines = []
    for split in SPLITS:
        dialogues, utterances = counts.get(split, (0, 0))
        expected = COUNTS[corpus][split]
        note = f"literature: {expected[0]} / {expected[1]}"
        if (dialogues, utterances) == expected:
            note = "as in the literature"
        counts_here = f"{counted(dialogues, 'dialogue')} / {counted(utterances, 'utterance')}"
        lines.append(f"{split}: {counts_here} ({note})")
    return lines


@cache
def _content() -> dict:
    return json.loads(files("pipeline.corpora").joinpath("splits.json").read_text("utf-8"))


@cache
def _splits(corpus: str) -> dict[str, str]:
    """Return dialogue id -> split."""
    content = _content()[corpus]
    splits = {}
    for split in SPLITS:
        # MELD's are given as the first and last id
        ids = content[split]
        if corpus == "meld":
            ids = range(ids[0], ids[1] + 1)
        splits.update(dict.fromkeys(map(str, ids), split))
    return splits
