"""Words beside MELD's: EmoryNLP, DailyDialog and GoEmotions, with MELD's emotions."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from extractors.text import clean_text
from pipeline.core.errors import MercError
from pipeline.corpora.meld_transcripts import EMOTIONS, Transcript

__all__ = ["NEUTRAL_SENTENCES", "TABLES", "read_words"]

TABLES = ("emorynlp", "dailydialog", "goemotions")
# EmoryNLP's peaceful and powerful have no counterpart: their utterances are context only
NAMES = {"joyful": "joy", "scared": "fear", "mad": "anger", "sad": "sadness"}
# what the actors of CREMA-D and RAVDESS say in every emotion
NEUTRAL_SENTENCES = (
    "Don't forget a jacket.",
    "It's eleven o'clock.",
    "I'm on my way to the meeting.",
    "I think I have a doctor's appointment.",
    "I think I've seen this before.",
    "I would like a new alarm clock.",
    "I wonder what this is about.",
    "Maybe tomorrow it will be cold.",
    "The airplane is almost full.",
    "That is exactly what happened.",
    "The surface is slick.",
    "We'll stop in a couple of minutes.",
    "Kids are talking by the door.",
    "Dogs are sitting by the door.",
)


def read_words(path: Path, split: str = "train") -> list[Transcript]:
    """Read one split of a table with columns dialogue, speaker, text, label and split.

    An utterance of several emotions, or of one that MELD does not have, gets the label -1.
    Utterances without words are left out. Raises MercError if the file is missing.
    """
    if not path.is_file():
        raise MercError(f"{path}: no such file", "docs/merc-offline.md says where to get it")
    dialogues: dict[str, list[tuple[str, str, int]]] = {}
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["split"] == split and clean_text(row["text"]):
                name = NAMES.get(row["label"], row["label"])
                label = EMOTIONS.index(name) if name in EMOTIONS else -1
                dialogues.setdefault(row["dialogue"], []).append(
                    (row["speaker"], row["text"], label)
                )
    return [
        Transcript(
            number,
            list(range(len(rows))),
            [speaker for speaker, _, _ in rows],
            [text for _, text, _ in rows],
            np.array([label for _, _, label in rows], np.int64),
        )
        for number, rows in enumerate(dialogues.values())
    ]
