"""A raw corpus as media to extract from, and for every utterance the media that tell each of its modalities.

MELD has one clip an utterance; IEMOCAP a film of each dialogue, of which an utterance is a stretch of time and one half
of the picture, and a sound file for each utterance.  An utterance without a usable medium is its words alone.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pipeline.core.dialogue import MODALITIES, Segmentation, Utterance
from pipeline.corpora.release import RawCorpus, RawUtterance
from pipeline.segmentation.segment import VERSION

__all__ = ["Piece", "Plan", "plan_of", "words_of"]

Place = tuple["Piece", int]  # a piece and the row of an utterance in it


@dataclass(frozen=True)
class Piece:
    """A medium and its lines.  path None: words only.  sides: "l" or "r" for each line, "" for the whole picture."""

    name: str
    path: Path | None
    lines: tuple[Utterance, ...]
    modalities: tuple[str, ...]
    sides: str = ""

    def __str__(self) -> str:
        return str(self.path or self.name)

    @cached_property
    def transcript(self) -> bytes:
        """The lines as the CSV that, beside the medium, would give `merc extract` the same features."""
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(("start", "end", "speaker", "text"))
        writer.writerows((f"{u.start:.4f}", f"{u.end:.4f}", u.speaker, u.text) for u in self.lines)
        return table.getvalue().encode()

    @property
    def source(self) -> dict:
        """`Segmentation.source`, as of that CSV."""
        return {
            "version": VERSION,
            "kind": "transcript",
            "format": "csv",
            "speakers": {"method": "given"},
            "sha256": hashlib.sha256(self.transcript).hexdigest(),
        }

    def segmentation(self, duration: float) -> Segmentation:
        """Its utterances inside a medium of so many seconds; what lies beyond has no length."""
        ends = [min(u.end, duration) for u in self.lines]
        return Segmentation(
            [
                Utterance(min(u.start, end), end, u.text, u.speaker)
                for u, end in zip(self.lines, ends, strict=True)
            ],
            self.source,
        )


@dataclass
class Plan:
    """places: for each utterance modality -> the pieces that have it, the best first."""

    corpus: RawCorpus
    pieces: list[Piece] = field(default_factory=list)
    places: list[dict[str, list[Place]]] = field(default_factory=list)


def plan_of(corpus: RawCorpus, modalities: tuple[str, ...] = MODALITIES) -> Plan:
    """Every medium once, in the order of the corpus."""
    plan = Plan(corpus)
    films: dict[Path, list[int]] = {}
    for index, said in enumerate(corpus.utterances):
        plan.places.append({m: [] for m in modalities})
        for medium in (said.clip, said.sound if said.whole_sound else None):
            if medium:
                films.setdefault(medium, []).append(index)
        if said.sound and not said.whole_sound:
            line = _line(said, 0.0, said.end - said.start)
            _add(
                plan, Piece(said.sound.name, said.sound, (line,), _of(modalities, "audio")), [index]
            )
    for path, indices in films.items():
        lines = [corpus.utterances[k] for k in indices]
        heard = all(u.sound and u.sound != path for u in lines)  # every line has a better sound
        seen = any(u.clip == path for u in lines)
        wanted = _of(
            modalities, *(("text", "visual") if seen else ()), *(() if heard else ("audio",))
        )
        name = (
            path.name if lines[0].side else f"{lines[0].split}-{path.name}"
        )  # dia0_utt0.mp4 is in each part
        _add(
            plan,
            Piece(
                name,
                path,
                tuple(_line(u, u.start, u.end) for u in lines),
                wanted,
                "".join(u.side[:1] for u in lines),
            ),
            indices,
        )
    for index, said in enumerate(corpus.utterances):
        words = words_of(said)
        if "text" in modalities:
            if not plan.places[index]["text"]:
                plan.pieces.append(words)
            plan.places[index]["text"].append((words, 0))
    return plan


def words_of(said: RawUtterance) -> Piece:
    """An utterance without its medium."""
    return Piece(f"{said.split}-{said.name} (words)", None, (_line(said, 0.0, 0.0),), ("text",))


def _add(plan: Plan, piece: Piece, indices: list[int]) -> None:
    if not piece.modalities:
        return
    plan.pieces.append(piece)
    for row, index in enumerate(indices):
        for modality in piece.modalities:
            plan.places[index][modality].append((piece, row))


def _of(wanted: tuple[str, ...], *there: str) -> tuple[str, ...]:
    return tuple(m for m in wanted if m in there)


def _line(said: RawUtterance, start: float, end: float) -> Utterance:
    """Times to a tenth of a millisecond, as the transcript tells them."""
    start, end = (round(t, 4) if math.isfinite(t) else 0.0 for t in (start, end))
    return Utterance(start, end, " ".join(said.text.split()), " ".join(said.speaker.split()))
