"""Plan the extraction of a raw release: which recordings, and which of them serve each utterance.

MELD has one clip per utterance. IEMOCAP has one video per dialogue, of which an utterance is a span
of time and one half of the picture, and a sound file per utterance. An utterance without a usable
recording still has its text.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.core.dialogue import MODALITIES, Segmentation, Utterance
from pipeline.corpora.release import RawCorpus, RawUtterance
from pipeline.segmentation.segment import transcript_source

__all__ = ["Piece", "Plan", "plan_release", "text_piece"]

Place = tuple["Piece", int]  # a piece and the row of an utterance in it


@dataclass(frozen=True)
class Piece:
    """A recording with its utterances: one item of work.

    path: the recording; None for text alone.
    modalities: the modalities to extract from it.
    sides: "l" or "r" per utterance, the speaker's half of the picture; "" for the whole picture.
    """

    name: str
    path: Path | None
    utterances: tuple[Utterance, ...]
    modalities: tuple[str, ...]
    sides: str = ""

    def __str__(self) -> str:
        return str(self.path or self.name)

    @cached_property
    def transcript(self) -> bytes:
        """The CSV that, next to the recording, makes `merc extract` compute the same features."""
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(("start", "end", "speaker", "text"))
        for u in self.utterances:
            writer.writerow((f"{u.start:.4f}", f"{u.end:.4f}", u.speaker, u.text))
        return table.getvalue().encode()

    @property
    def sha256(self) -> str:
        """SHA-256 of the transcript. A piece without a recording is stored under it."""
        return hashlib.sha256(self.transcript).hexdigest()

    @property
    def source(self) -> dict[str, Any]:
        """`Segmentation.source` of the transcript."""
        return transcript_source(self.sha256, "csv")

    def segmentation(self, duration: float) -> Segmentation:
        """Clip the utterances to a recording of `duration` seconds.

        Utterances beyond its end get length 0, so that rows stay aligned.
        """
        utterances = []
        for utterance in self.utterances:
            end = min(utterance.end, duration)
            start = min(utterance.start, end)
            utterances.append(Utterance(start, end, utterance.text, utterance.speaker))
        return Segmentation(utterances, self.source)


@dataclass
class Plan:
    """The pieces of a raw release.

    places: per utterance of the corpus, modality -> places to take its feature from, best first.
    """

    corpus: RawCorpus
    pieces: list[Piece] = field(default_factory=list)
    places: list[dict[str, list[Place]]] = field(default_factory=list)

    def add(self, piece: Piece, indices: list[int]) -> None:
        """Add a piece that holds these utterances of the corpus, if it has any modality."""
        if not piece.modalities:
            return
        self.pieces.append(piece)
        for row, index in enumerate(indices):
            for modality in piece.modalities:
                self.places[index][modality].append((piece, row))


def plan_release(corpus: RawCorpus, modalities: tuple[str, ...] = MODALITIES) -> Plan:
    """Plan the extraction of these modalities: every recording once, in the order of the corpus."""
    plan = Plan(corpus, places=[{m: [] for m in modalities} for _ in corpus.utterances])
    recordings: dict[Path, list[int]] = {}
    for index, utterance in enumerate(corpus.utterances):
        sound = utterance.sound
        for path in (utterance.clip, sound if utterance.whole_sound else None):
            if path:
                recordings.setdefault(path, []).append(index)
        if sound and not utterance.whole_sound:
            line = _line(utterance, 0.0, utterance.end - utterance.start)
            plan.add(Piece(sound.name, sound, (line,), _those(["audio"], modalities)), [index])
    for path, indices in recordings.items():
        utterances = [corpus.utterances[k] for k in indices]
        plan.add(_recording_piece(path, utterances, modalities), indices)
    if "text" in modalities:
        for utterance, places in zip(corpus.utterances, plan.places, strict=True):
            piece = text_piece(utterance)
            if not places["text"]:
                plan.pieces.append(piece)
            places["text"].append((piece, 0))
    return plan


def text_piece(utterance: RawUtterance) -> Piece:
    """Return the piece of an utterance without a usable recording: its text alone."""
    name = f"{utterance.split}-{utterance.name} (words)"
    return Piece(name, None, (_line(utterance, 0.0, 0.0),), ("text",))


def _recording_piece(
    path: Path, utterances: list[RawUtterance], modalities: tuple[str, ...]
) -> Piece:
    available = []
    if any(u.clip == path for u in utterances):
        available += ["text", "visual"]
    if not all(u.sound and u.sound != path for u in utterances):  # else each has a better sound
        available.append("audio")
    name = path.name
    if not utterances[0].side:
        name = f"{utterances[0].split}-{name}"  # MELD has a dia0_utt0.mp4 in every split
    return Piece(
        name,
        path,
        tuple(_line(u, u.start, u.end) for u in utterances),
        _those(available, modalities),
        "".join(u.side[:1] for u in utterances),
    )


def _those(available: list[str], modalities: tuple[str, ...]) -> tuple[str, ...]:
    """Return the available ones of the modalities, in their order."""
    return tuple(m for m in modalities if m in available)


def _line(utterance: RawUtterance, start: float, end: float) -> Utterance:
    """Round times to 0.1 ms, as the transcript holds them."""
    start, end = (round(t, 4) if math.isfinite(t) else 0.0 for t in (start, end))
    text, speaker = " ".join(utterance.text.split()), " ".join(utterance.speaker.split())
    return Utterance(start, end, text, speaker)
