"""RTTM: who speaks when (NIST 2009)."""

from __future__ import annotations

import math
from pathlib import Path

from pipeline.core.errors import MercWarning
from pipeline.exports.escapes import speaker_named
from pipeline.segmentation.transcripts.source import Source, TranscriptError

__all__ = ["read_rttm"]

Turn = tuple[float, float, str]  # start and end in seconds, speaker


def read_rttm(
    path: Path, recording: str | None = None, warnings: list[MercWarning] | None = None
) -> list[Turn]:
    """Read the turns (start, end, speaker) of an RTTM file, in order of time.

    Its lines are `SPEAKER id channel start duration <NA> <NA> speaker ...`. If the file holds
    several recordings, only the turns whose id is `recording` (a name without its extension) are
    used. Appends to `warnings`. Underscores in names stay: merc writes white space as underscores,
    but other names have them, too.

    Raises TranscriptError: a malformed line, no turns, or several recordings and none of that name.
    """
    source = Source(Path(path))
    turns: dict[str, list[Turn]] = {}
    for number, line in enumerate(source.text.split("\n"), 1):
        fields = line.split()
        if not fields or fields[0] != "SPEAKER":
            if fields and fields[0] not in ("SPKR-INFO", "SPEAKER") and not line.startswith(";;"):
                source.leave_out("no turns of speakers", line)
            continue
        try:
            start, duration, speaker = float(fields[3]), float(fields[4]), fields[7]
        except (IndexError, ValueError) as error:
            raise TranscriptError(
                f"{path}, line {number}: not a turn of a speaker: {line[:80]!r}",
                "write it as 'SPEAKER id 1 start duration <NA> <NA> speaker'",
            ) from error
        if math.isfinite(start) and math.isfinite(duration) and duration > 0:
            name = "" if speaker == "<NA>" else speaker_named(speaker)
            turns.setdefault(fields[1], []).append((start, start + duration, name))
        else:
            source.leave_out("turns without a length", line)
    if not turns:
        raise TranscriptError(
            f"{path}: no SPEAKER lines in this file",
            "provide a file with the turns of speakers, or none",
        )
    chosen = _of_recording(turns, recording, source)
    source.report()
    if warnings is not None:
        warnings += source.warnings
    return sorted(chosen)


def _of_recording(
    turns: dict[str, list[Turn]], recording: str | None, source: Source
) -> list[Turn]:
    """Choose the turns of a recording; a file of one recording needs no matching name."""
    if len(turns) == 1:
        return next(iter(turns.values()))
    if recording is None:
        return [turn for part in turns.values() for turn in part]
    wanted = _fold(recording)
    matching = [id for id in turns if _fold(id) == wanted]
    if not matching:
        names = ", ".join(list(turns)[:5])
        raise TranscriptError(
            f"{source.path}: holds {len(turns)} recordings ({names}), but none named {recording}",
            "keep only the lines of this recording",
        )
    return [turn for id in matching for turn in turns[id]]


def _fold(name: str) -> str:
    """Compare names as `exports.rttm` writes them: white space as underscores."""
    return "_".join(name.casefold().split())
