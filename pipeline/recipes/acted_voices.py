"""Acted voices for the paired corpus: EmoDB and TESS clips as IS10 vectors, clean and distorted."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.corpora.meld_transcripts import EMOTIONS
from pipeline.recipes.cache import cached

__all__ = ["COPIES", "HELD_OUT", "VoicePool", "load_voices"]

COPIES = 5  # distorted copies of each clip; with fewer than three the model leans on the studio
HELD_OUT = ("09", "12")  # EmoDB speakers of validation, a woman and a man: never heard in training
RATE = 16_000


@dataclass(frozen=True)
class VoicePool:
    """n clips: vectors (n, 1 + copies, 1582), clean first; labels (n,) of EMOTIONS; speakers (n,) str."""

    vectors: np.ndarray
    labels: np.ndarray
    speakers: np.ndarray
    files: list[str]

    def part(self, rows: np.ndarray) -> VoicePool:
        return VoicePool(
            self.vectors[rows],
            self.labels[rows],
            self.speakers[rows],
            [self.files[row] for row in np.arange(len(self.labels))[rows]],
        )

    def without(self, speakers: tuple[str, ...]) -> VoicePool:
        return self.part(~np.isin(self.speakers, speakers))

    def only(self, speakers: tuple[str, ...]) -> VoicePool:
        return self.part(np.isin(self.speakers, speakers))


def load_voices(
    folder: Path, extractor: Any, report: Callable[[str], None] = lambda message: None
) -> VoicePool:
    """All clips of `folder/labels.csv` (columns file, speaker, emotion) whose emotion MELD knows.

    Boredom has no place among MELD's seven and is left out.  Raises FileNotFoundError or ValueError with the
    file's name.
    """
    table = folder / "labels.csv"
    if not table.is_file():
        raise FileNotFoundError(
            f"no {table}; want a folder of acted voices with columns file, speaker, emotion"
        )
    with open(table, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("emotion") in EMOTIONS]
    if not rows or not {"file", "speaker"} <= set(rows[0]):
        raise ValueError(
            f"{table}: no voices; want columns file, speaker, emotion with emotions of {EMOTIONS}"
        )
    files = [row["file"] for row in rows]
    digest = hashlib.sha256()
    for name in files:
        digest.update(name.encode() + hashlib.sha256((folder / name).read_bytes()).digest())
    fingerprint, clips = extractor.fingerprint, digest.hexdigest()

    def make(copy: int) -> np.ndarray:
        report(
            f"IS10 of {len(files)} voice clips, "
            + (f"distorted copy {copy} of {COPIES}" if copy else "clean")
        )
        return np.stack(
            [_vector(folder / name, index, copy, extractor) for index, name in enumerate(files)]
        )

    vectors = np.stack(
        [
            cached(
                "voices",
                {
                    "fingerprint": fingerprint,
                    "clips": clips,
                    "copy": copy,
                    "distort": _distort_version(copy),
                },
                partial(make, copy),
            )
            for copy in range(1 + COPIES)
        ],
        1,
    )
    return VoicePool(
        vectors,
        np.array([EMOTIONS.index(row["emotion"]) for row in rows], np.int64),
        np.array([row["speaker"] for row in rows]),
        files,
    )


def _vector(path: Path, index: int, copy: int, extractor: Any) -> np.ndarray:
    from pipeline.media.decode import open_media
    from pipeline.recipes.distort import distort

    with open_media(path) as media:
        sound = media.sound(0, media.duration)
    return extractor.extract(distort(sound, RATE, 1000 * index + copy) if copy else sound, RATE)


def _distort_version(copy: int) -> str | None:
    """The distortions' own program is part of the key: changing it makes the copies anew, not the clean ones."""
    from pipeline.recipes import distort

    return hashlib.sha256(Path(distort.__file__).read_bytes()).hexdigest() if copy else None
