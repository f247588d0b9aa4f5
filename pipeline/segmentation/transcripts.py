"""Find and read transcripts; RTTM files say who speaks when.

A transcript without times gives utterances whose start and end are NaN;
`pipeline.segmentation.alignment` finds their times.
"""

from __future__ import annotations

import codecs
import math
from pathlib import Path

from pipeline.core.dialogue import Utterance
from pipeline.core.errors import MercWarning
from pipeline.segmentation.transcript_formats import READERS, TranscriptError

__all__ = ["READERS", "TranscriptError", "find_transcript", "read_rttm", "read_transcript"]

_MAX_BYTES = 1 << 26  # 64 MB; the transcript of a whole day has a few megabytes


def find_transcript(media_path: Path) -> Path | None:
    """Return the transcript next to a recording, with the same name but for its extension.

    What merc wrote (`*.merc.*`) is not a transcript. Plain text is used only if asked for, and
    RTTM only if there is no other file.
    """
    order = [*(suffix for suffix in READERS if suffix != ".txt"), ".rttm"]
    candidates = []
    for path in media_path.parent.iterdir():
        if path.stem != media_path.stem or path.suffix.lower() not in order:
            continue
        if path != media_path and ".merc." not in path.name.lower() and path.is_file():
            candidates.append(path)
    return min(candidates, key=lambda p: (order.index(p.suffix.lower()), p.name), default=None)


def read_transcript(path: Path, warnings: list[MercWarning] | None = None) -> list[Utterance]:
    """Read the utterances of a transcript, in the order of the file.

    Times are those in the file; NaN if it has none. Appends to `warnings`.

    Raises TranscriptError (unknown format, no utterances, wrong columns) or OSError (missing,
    not readable).
    """
    path = Path(path)
    warnings = [] if warnings is None else warnings
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise TranscriptError(
            f"{path}: merc does not read transcripts of this format",
            f"provide one of {', '.join(READERS)}",
        )
    utterances = [u for u in reader(_read_text(path, warnings), path) if u.text]
    if not utterances:
        raise TranscriptError(
            f"{path}: no utterances in this file",
            f"check that it is a {path.suffix} file with text",
        )
    timed = [u for u in utterances if math.isfinite(u.start) and math.isfinite(u.end)]
    if timed and len(timed) < len(utterances):
        untimed = len(utterances) - len(timed)
        text = f"{untimed} of {len(utterances)} utterances have no readable times and are left out"
        warnings.append(MercWarning(path.name, text))
        utterances = timed
    return utterances


def read_rttm(path: Path) -> list[tuple[float, float, str]]:
    """Read the turns (start, end, speaker) of an RTTM file, in order of time.

    Its lines are `SPEAKER id channel start duration <NA> <NA> speaker ...`.

    Raises TranscriptError, which names the line, if one is malformed.
    """
    turns = []
    for number, line in enumerate(_read_text(path, []).splitlines(), 1):
        fields = line.split()
        if not fields or fields[0] != "SPEAKER":
            continue
        try:
            start, duration, speaker = float(fields[3]), float(fields[4]), fields[7]
        except (IndexError, ValueError) as error:
            raise TranscriptError(
                f"{path}, line {number}: not a turn of a speaker: {line[:80]!r}",
                "write it as 'SPEAKER id 1 start duration <NA> <NA> speaker'",
            ) from error
        if math.isfinite(start) and math.isfinite(duration) and duration > 0:
            turns.append((start, start + duration, speaker))
    if not turns:
        raise TranscriptError(
            f"{path}: no SPEAKER lines in this file",
            "provide a file with the turns of speakers, or none",
        )
    return sorted(turns)


def _read_text(path: Path, warnings: list[MercWarning]) -> str:
    """Read a text file. Lines end in `\\n`: pysubs2 needs blank lines to be blank."""
    return _decode(path, warnings).replace("\r\n", "\n").replace("\r", "\n")


def _decode(path: Path, warnings: list[MercWarning]) -> str:
    """Decode by byte-order mark; without one UTF-8, UTF-16 or, with a warning, Windows-1252."""
    size = path.stat().st_size
    if size > _MAX_BYTES:
        raise TranscriptError(
            f"{path}: {size >> 20} MB is too large for a transcript", "check the file name"
        )
    data = path.read_bytes()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors="replace")
    if b"\0" in data[:200]:
        # in little-endian UTF-16 the second byte of an ASCII letter is zero
        little_endian = data[1:200:2].count(0) >= data[0:200:2].count(0)
        return data.decode("utf-16-le" if little_endian else "utf-16-be", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "not UTF-8, read as Windows-1252; if letters are wrong, save the file as UTF-8"
        warnings.append(MercWarning(path.name, text))
        return data.decode("cp1252", errors="replace")
