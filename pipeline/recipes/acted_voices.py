"""Acted voices for the paired corpus: EmoDB and TESS clips as IS10 vectors, clean and distorted."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import MercError
from pipeline.core.fingerprints import checksum, sha256_of
from pipeline.corpora.meld_transcripts import EMOTIONS
from pipeline.media.decode import RATE, open_media
from pipeline.recipes import distort
from pipeline.recipes.cache import cached

__all__ = ["COPIES", "HELD_OUT", "VoicePool", "load_voices"]

COPIES = 5  # distorted copies of each clip; with fewer than three the model relies on studio sound
HELD_OUT = ("09", "12")  # EmoDB speakers, a woman and a man, used in validation and test only


@dataclass(frozen=True)
class VoicePool:
    """Voice vectors of n clips.

    vectors: (n, 1 + copies, 1582) float32, the clean version first.
    labels: (n,) int64, indices into EMOTIONS.
    speakers: (n,) str.
    files: n file names.
    """

    vectors: np.ndarray
    labels: np.ndarray
    speakers: np.ndarray
    files: list[str]

    def without(self, speakers: tuple[str, ...]) -> VoicePool:
        """Leave out the clips of these speakers."""
        return self._select(~np.isin(self.speakers, speakers))

    def only(self, speakers: tuple[str, ...]) -> VoicePool:
        """Keep the clips of these speakers alone."""
        return self._select(np.isin(self.speakers, speakers))

    def _select(self, mask: np.ndarray) -> VoicePool:
        return VoicePool(
            self.vectors[mask],
            self.labels[mask],
            self.speakers[mask],
            [self.files[index] for index in np.flatnonzero(mask)],
        )


def load_voices(
    folder: Path, extractor: Any, report: Callable[[str], None] = lambda message: None
) -> VoicePool:
    """Load the clips of `folder/labels.csv` (file, speaker, emotion) whose emotion MELD has.

    Boredom is not among MELD's seven emotions and is left out. Raises MercError if the table is
    missing, has other columns, or names a clip that does not exist.
    """
    rows = _read_table(folder / "labels.csv")
    files = [row["file"] for row in rows]
    clips = checksum([[name, sha256_of(folder / name)] for name in files])

    def extract(copy: int) -> np.ndarray:
        version = f"distorted copy {copy} of {COPIES}" if copy else "clean"
        report(f"IS10 of {len(files)} voice clips, {version}")
        return np.stack(
            [_extract_clip(folder / name, i, copy, extractor) for i, name in enumerate(files)]
        )

    # the clean vectors do not depend on how distort.py distorts
    program = sha256_of(Path(distort.__file__))
    versions = []
    for copy in range(1 + COPIES):
        key = {
            "fingerprint": extractor.fingerprint,
            "clips": clips,
            "copy": copy,
            "distort": program if copy else None,
        }
        versions.append(cached("voices", key, partial(extract, copy)))
    labels = np.array([EMOTIONS.index(row["emotion"]) for row in rows], np.int64)
    speakers = np.array([row["speaker"] for row in rows])
    return VoicePool(np.stack(versions, 1), labels, speakers, files)


def _read_table(path: Path) -> list[dict[str, str]]:
    columns = "file, speaker, emotion"
    if not path.is_file():
        raise MercError(f"{path}: no such file", f"add a table of the clips with columns {columns}")
    with open(path, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("emotion") in EMOTIONS]
    if not rows or not {"file", "speaker"} <= set(rows[0]):
        raise MercError(
            f"{path}: no voice clips",
            f"name the columns {columns}, and use these emotions: {', '.join(EMOTIONS)}",
        )
    missing = [row["file"] for row in rows if not (path.parent / row["file"]).is_file()]
    if missing:
        raise MercError(
            f"{path}: {len(missing)} clips are missing, such as {missing[0]}",
            "put the clips beside the table",
        )
    return rows


def _extract_clip(path: Path, index: int, copy: int, extractor: Any) -> np.ndarray:
    with open_media(path) as media:
        sound = media.sound(0, media.duration)
    if copy:
        sound = distort.distort(sound, RATE, seed=1000 * index + copy)
    return extractor.extract(sound, RATE)
