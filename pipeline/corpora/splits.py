"""The official parts of IEMOCAP (COSMIC's) and MELD (the original), by the dialogue ids of the published files."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

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
LABELS = {  # the order of the label numbers in every published file
    "iemocap": ("happy", "sad", "neutral", "angry", "excited", "frustrated"),
    "meld": ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger"),
}
COUNTS = {  # dialogues, utterances, as the literature has them
    "iemocap": {"train": (108, 5163), "valid": (12, 647), "test": (31, 1623)},
    "meld": {"train": (1038, 9989), "valid": (114, 1109), "test": (280, 2610)},
}
OFFSETS = {
    "train": 0,
    "valid": 1039,
    "test": 1153,
}  # MELD's published id = id in the part's own CSV + offset


@cache
def _content() -> dict:
    return json.loads(files("pipeline.corpora").joinpath("splits.json").read_text("utf-8"))


@cache
def _members(corpus: str) -> dict[str, str]:
    """Dialogue id -> split."""
    parts = _content()[corpus]
    if corpus == "iemocap":
        return {name: split for split in SPLITS for name in parts[split]}
    return {str(k): split for split in SPLITS for k in range(parts[split][0], parts[split][1] + 1)}


def official_split(corpus: str, dialogue: str) -> str | None:
    """train, valid or test of a dialogue id of iemocap or meld; None for an id that is not theirs."""
    return _members(corpus).get(dialogue)


def known_missing(corpus: str) -> frozenset[str]:
    """Ids in the range of a split that never existed: MELD's training dialogue 60."""
    return frozenset(str(k) for k in _content()[corpus].get("train_missing", ()))


def expected_dialogues(corpus: str, split: str) -> list[str]:
    """The ids that a split needs, in the order of the corpus."""
    absent = known_missing(corpus)
    return [name for name, part in _members(corpus).items() if part == split and name not in absent]


def iemocap_utterances() -> dict[str, int]:
    """Labelled utterances of each IEMOCAP dialogue in the published files (7,433 in all)."""
    return dict(_content()["iemocap"]["utterances"])


def describe_counts(corpus: str, found: dict[str, tuple[int, int]]) -> list[str]:
    """A line for each part: dialogues and utterances found, beside the literature's."""
    lines = []
    for split in SPLITS:
        dialogues, utterances = found.get(split, (0, 0))
        want = COUNTS[corpus][split]
        note = (
            "as in the literature"
            if (dialogues, utterances) == want
            else f"literature: {want[0]} / {want[1]}"
        )
        lines.append(f"{split}: {dialogues} dialogues / {utterances} utterances ({note})")
    return lines
