"""Acted voices for the paired corpus: EmoDB, TESS, CREMA-D and RAVDESS, clean and distorted.

CREMA-D's actors play strong, weak, muted and mixed expressions, and a crowd said what the face
alone shows: of most actors' anger, anger to some people and nothing to others.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import MercError
from pipeline.core.fingerprints import checksum, sha256_of
from pipeline.corpora.meld_transcripts import EMOTIONS
from pipeline.media.decode import RATE, open_media
from pipeline.recipes import distort
from pipeline.recipes.cache import cached

__all__ = ["HELD_OUT", "TABLES", "VERSIONS", "VoicePool", "load_voices", "read_clips", "sounds_of"]

# clean, and one copy that is band-limited or distorted in turn: CREMA-D and RAVDESS end at 5.5 kHz,
# and without copies of the others that do too, the corpus shows in the spectrum
VERSIONS = ("clean", "changed")
CUTOFFS = (3900, 5400)  # Hz
TABLES = ("labels.csv", "cremad/labels.csv", "ravdess/labels.csv")
HELD_OUT = (
    *("emodb-09", "emodb-12"),
    *("cremad-1003", "cremad-1012", "cremad-1021", "cremad-1033", "cremad-1042", "cremad-1054"),
    *("cremad-1063", "cremad-1071", "cremad-1081", "cremad-1089"),
    *("ravdess-04", "ravdess-05", "ravdess-09", "ravdess-10"),
)  # used in validation and test only, women and men
# as CREMA-D and RAVDESS call MELD's emotions; calm is RAVDESS' second kind of neutral
NAMES = {
    **{"ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "joy"},
    **{"NEU": "neutral", "SAD": "sadness", "angry": "anger", "happy": "joy", "sad": "sadness"},
    **{"fearful": "fear", "surprised": "surprise", "calm": "neutral"},
}
VOTES = {"A": "anger", "D": "disgust", "F": "fear", "H": "joy", "N": "neutral", "S": "sadness"}


@dataclass(frozen=True)
class VoicePool:
    """Voice vectors of n clips.

    vectors: (n, versions, d) float32, in the order of VERSIONS.
    labels: (n,) int64, the acted emotions, indices into EMOTIONS.
    speakers, corpora: (n,) str; the name of a speaker starts with that of the corpus.
    files: n names.
    seen: (n, 7) float32, the shares of the crowd's votes for the face alone; NaN if nobody voted.
    """

    vectors: np.ndarray
    labels: np.ndarray
    speakers: np.ndarray
    files: list[str]
    corpora: np.ndarray
    seen: np.ndarray

    def without(self, speakers: tuple[str, ...]) -> VoicePool:
        """Leave out the clips of these speakers."""
        return self.select(~np.isin(self.speakers, speakers))

    def only(self, speakers: tuple[str, ...]) -> VoicePool:
        """Keep the clips of these speakers alone."""
        return self.select(np.isin(self.speakers, speakers))

    def select(self, mask: np.ndarray) -> VoicePool:
        """Keep the clips where mask (n,) is true."""
        arrays = ("vectors", "labels", "speakers", "corpora", "seen")
        files = [self.files[index] for index in np.flatnonzero(mask)]
        return replace(self, files=files, **{name: getattr(self, name)[mask] for name in arrays})


def load_voices(
    folder: Path, extractor: Any, report: Callable[[str], None] = lambda message: None
) -> VoicePool:
    """Load the clips of TABLES in `folder` whose emotion MELD has (boredom is left out).

    A row has file, speaker or actor, and emotion or acted; start and end in seconds where a file
    holds several clips. Raises MercError if a table or a clip is missing or a table has other
    columns.
    """
    rows = read_clips(folder)
    vectors = []
    for corpus in dict.fromkeys(row["corpus"] for row in rows):
        part = [row for row in rows if row["corpus"] == corpus]
        vectors.append(_load_vectors(folder, corpus, part, extractor, report))
    labels = np.array([EMOTIONS.index(row["emotion"]) for row in rows], np.int64)
    return VoicePool(
        np.concatenate(vectors),
        labels,
        np.array([row["speaker"] for row in rows]),
        [row["name"] for row in rows],
        np.array([row["corpus"] for row in rows]),
        np.stack([_votes(row) for row in rows]),
    )


def _load_vectors(
    folder: Path,
    corpus: str,
    rows: list[dict[str, str]],
    extractor: Any,
    report: Callable[[str], None],
) -> np.ndarray:
    files = dict.fromkeys(row["file"] for row in rows)
    clips = [[name, sha256_of(folder / name)] for name in files]
    spans = [[row["file"], row.get("start"), row.get("end")] for row in rows]

    def extract(version: str) -> np.ndarray:
        report(f"voice vectors of {len(rows)} clips of {corpus}, {version}")
        change = _keep if version == "clean" else _change
        sounds = enumerate(sounds_of(folder, rows))
        return np.stack([extractor.extract(change(sound, k), RATE) for k, sound in sounds])

    versions = []
    for version in VERSIONS:
        key = {
            "fingerprint": extractor.fingerprint,
            "clips": checksum([clips, spans]),
            "version": version,
            # the clean vectors do not depend on how distort.py distorts
            "distort": None if version == "clean" else sha256_of(Path(distort.__file__)),
        }
        versions.append(cached("voices", key, partial(extract, version)))
    return np.stack(versions, 1)


def read_clips(folder: Path) -> list[dict[str, str]]:
    """Return the rows of all TABLES, with columns corpus, speaker, emotion, file and name.

    Raises MercError as `load_voices` does.
    """
    return [row for table in TABLES for row in _read_table(folder, table)]


def sounds_of(folder: Path, rows: list[dict[str, str]]) -> Iterator[np.ndarray]:
    """Yield the sound (n,) of every clip at 16 kHz; rows of one file follow each other."""
    for file, clips in groupby(rows, key=lambda row: row["file"]):
        with open_media(folder / file) as media:
            for row in clips:
                end = float(row.get("end") or media.duration)
                yield media.sound(float(row.get("start") or 0), end)


def _keep(sound: np.ndarray, number: int) -> np.ndarray:
    return sound


def _change(sound: np.ndarray, number: int) -> np.ndarray:
    """Band-limit every third clip; distort the others."""
    if number % 3 == 0:
        return distort.band_limit(sound, RATE, 60, CUTOFFS[number // 3 % 2])
    return distort.distort(sound, RATE, seed=1000 * number + 1)


def _votes(row: dict[str, str]) -> np.ndarray:
    votes = np.zeros(len(EMOTIONS), np.float32)
    for letter, emotion in VOTES.items():
        votes[EMOTIONS.index(emotion)] = float(row.get(f"face_{letter}") or 0)
    return votes / votes.sum() if votes.sum() else np.full_like(votes, np.nan)


def _read_table(folder: Path, name: str) -> list[dict[str, str]]:
    """Read the clips of a table, with columns corpus, speaker, emotion, file and name added."""
    path = folder / name
    if not path.is_file():
        raise MercError(f"{path}: no such file", "add the table of the clips")
    rows = []
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            acted = row.get("emotion") or row.get("acted") or ""
            emotion = NAMES.get(acted, acted)
            if emotion not in EMOTIONS:
                continue
            corpus = row.get("corpus") or Path(name).parent.name
            speaker = row.get("speaker") or row.get("actor")
            if not speaker or not row.get("file"):
                raise MercError(
                    f"{path}: a row without file or speaker", "name the columns file and speaker"
                )
            media = str(Path(name).parent / row["file"])
            clip = f"{media}@{row['start']}" if row.get("start") else media
            row |= {"emotion": emotion, "corpus": corpus, "speaker": f"{corpus}-{speaker}"}
            rows.append(row | {"file": media, "name": clip})
    missing = sorted({row["file"] for row in rows if not (folder / row["file"]).is_file()})
    if not rows or missing:
        problem = f"{len(missing)} files are missing, such as {missing[0]}" if missing else "empty"
        raise MercError(f"{path}: {problem}", "put the clips beside the table")
    return rows
