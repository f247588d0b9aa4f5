"""Read other people's transcripts: SubRip, WebVTT, CSV (also MELD's), Praat TextGrid, plain text; RTTM for speakers.

A transcript without times gives utterances whose start and end are NaN; `pipeline.segmentation.alignment` finds their times.
"""

from __future__ import annotations

import codecs
import csv
import html
import io
import math
import re
from collections.abc import Callable
from pathlib import Path

from pipeline.core.dialogue import Utterance

__all__ = ["READERS", "TranscriptError", "find_transcript", "read_rttm", "read_transcript"]

_LIMIT = 1 << 26  # bytes: a transcript of a day has a few megabytes
_PREFIX = re.compile(r"^\s*(?:>>+\s*)?([^\W\d_][\w .'’\-]{0,30}?)\s*:\s+(?=\S)")
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]+)>", re.IGNORECASE)
_TAG = re.compile(r"</?[A-Za-z][^<>]*>|<\d[\d:.]*>")
_CLOCK = re.compile(r"^(-?)(?:(?:(\d+):)?(\d+):)?(\d+(?:[.,]\d*)?|[.,]\d+)$")
_COLUMNS = {
    "start": ("start", "starttime", "start_time", "begin", "onset", "from", "start_s", "start (s)"),
    "end": ("end", "endtime", "end_time", "stop", "offset", "to", "end_s", "end (s)"),
    "speaker": ("speaker", "speaker_id", "name", "who"),
    "text": ("text", "utterance", "transcript", "transcription", "sentence", "content"),
}


class TranscriptError(ValueError):
    """A transcript that cannot be read: which, why, and what to do."""


def find_transcript(media_path: Path) -> Path | None:
    """The transcript beside a medium with the same stem (what merc wrote, `*.merc.*`, is none); RTTM comes last."""
    order = [*(suffix for suffix in READERS if suffix not in (".txt", ".rttm")), ".rttm"]
    found = [
        p
        for p in media_path.parent.iterdir()
        if p.stem == media_path.stem
        and p != media_path
        and p.suffix.lower() in order
        and p.is_file()
    ]
    found = [p for p in found if ".merc." not in p.name.lower()]
    return min(found, key=lambda p: (order.index(p.suffix.lower()), p.name), default=None)


def read_transcript(path: Path, warnings: list[str] | None = None) -> list[Utterance]:
    """Utterances in the order of the file; times as written, NaN where there are none.  `warnings` grows.

    Raises TranscriptError: unknown kind, no utterance in it, wrong columns; OSError: missing, not readable.
    """
    path, notes = Path(path), [] if warnings is None else warnings
    reader = READERS.get(path.suffix.lower())
    if reader is None or path.suffix.lower() == ".rttm":
        raise TranscriptError(
            f"{path}: not a kind of transcript that merc reads; give one of "
            f"{', '.join(kind for kind in READERS if kind != '.rttm')}"
        )
    utterances = [u for u in reader(_text(path, notes), path) if u.text]
    if not utterances:
        raise TranscriptError(
            f"{path}: no utterance in it; check that it is a {path.suffix} file with text"
        )
    timed = [u for u in utterances if math.isfinite(u.start) and math.isfinite(u.end)]
    if timed and len(timed) < len(utterances):
        notes.append(
            f"{path.name}: {len(utterances) - len(timed)} of {len(utterances)} utterances have no readable "
            f"times and are left out"
        )
        utterances = timed
    return utterances


def read_rttm(path: Path) -> list[tuple[float, float, str]]:
    """Turns (start, end, speaker) of an RTTM file: `SPEAKER id channel start duration <NA> <NA> speaker …`.

    Raises TranscriptError naming the line that is not like that.
    """
    turns = []
    for number, line in enumerate(_text(path, []).splitlines(), 1):
        fields = line.split()
        if not fields or fields[0] != "SPEAKER":
            continue
        try:
            start, length, speaker = float(fields[3]), float(fields[4]), fields[7]
        except (IndexError, ValueError) as error:
            raise TranscriptError(
                f"{path}, line {number}: want 'SPEAKER id 1 start duration <NA> <NA> speaker'; have "
                f"{line[:80]!r}"
            ) from error
        if math.isfinite(start) and math.isfinite(length) and length > 0:
            turns.append((start, start + length, speaker))
    if not turns:
        raise TranscriptError(
            f"{path}: no SPEAKER line in it; give turns of speakers or leave the file away"
        )
    return sorted(turns)


def _text(path: Path, notes: list[str]) -> str:
    """Decoded text with lines ended by `\\n`, as pysubs2 takes blank lines for granted."""
    return _decoded(path, notes).replace("\r\n", "\n").replace("\r", "\n")


def _decoded(path: Path, notes: list[str]) -> str:
    """By byte-order mark, else UTF-8, else UTF-16 without mark, else Windows-1252 (and says so)."""
    if path.stat().st_size > _LIMIT:
        raise TranscriptError(
            f"{path}: {path.stat().st_size >> 20} MB is no transcript; check the name"
        )
    data = path.read_bytes()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors="replace")
    if b"\0" in data[:200]:
        odd = data[1:200:2].count(0) >= data[0:200:2].count(
            0
        )  # ASCII letters have their zero second: little endian
        return data.decode("utf-16-le" if odd else "utf-16-be", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        notes.append(
            f"{path.name}: not UTF-8; read as Windows-1252. If letters are wrong, save it as UTF-8"
        )
        return data.decode("cp1252", errors="replace")


def _clean(text: str) -> str:
    return " ".join(html.unescape(_TAG.sub("", text)).replace("\0", "").split())


def _subtitles(kind: str) -> Callable[[str, Path], list[Utterance]]:
    def read(text: str, path: Path) -> list[Utterance]:
        import pysubs2

        try:
            events = pysubs2.SSAFile.from_string(text, format_=kind, keep_unknown_html_tags=True)
        except (pysubs2.Pysubs2Error, ValueError) as error:
            raise TranscriptError(f"{path}: not readable as {kind.upper()}: {error}") from error
        cues = []
        for event in events:
            body = event.plaintext
            if kind == "vtt":
                body = body.split("\n\n")[
                    0
                ]  # pysubs2 lets the identifiers and notes that follow a cue run into it
            voice = _VOICE.search(body)
            cues.append(
                Utterance(
                    event.start / 1000,
                    event.end / 1000,
                    _clean(body),
                    _clean(voice.group(1)) if voice else "",
                )
            )
        return _prefixes([cue for cue in cues if cue.text])

    return read


def _prefixes(cues: list[Utterance]) -> list[Utterance]:
    """`Anna: Hello` → speaker Anna, when at least half of the cues are like that; a cue without a name goes on."""
    matches = [_PREFIX.match(cue.text) for cue in cues]
    named = sum(match is not None for match in matches)
    if any(cue.speaker for cue in cues) or not named or 2 * named < len(cues):
        return cues
    speaker, split = "", []
    for cue, match in zip(cues, matches, strict=True):
        speaker = " ".join(match.group(1).split()) if match else speaker
        split.append(
            Utterance(cue.start, cue.end, cue.text[match.end() :] if match else cue.text, speaker)
        )
    return split


def _seconds(text: str) -> float:
    """`12.5`, `1:02,5`, `00:14:38,127` → seconds; NaN when it is no time."""
    match = _CLOCK.match(text.strip())
    if not match:
        return math.nan
    sign, hours, minutes, seconds = match.groups()
    time = 3600 * int(hours or 0) + 60 * int(minutes or 0) + float(seconds.replace(",", "."))
    return -time if sign else time


def _csv(text: str, path: Path) -> list[Utterance]:
    lines = [line for line in text.splitlines() if line.strip()] or [""]
    separator = max(",;\t", key=lines[0].count)
    if separator in lines[0]:
        try:
            header, *rows = [
                row for row in csv.reader(io.StringIO(text), delimiter=separator) if row
            ]
        except csv.Error as error:
            raise TranscriptError(f"{path}: not readable as CSV: {error}") from error
    else:  # text alone: a comma in it is a comma
        header, *rows = [
            next(csv.reader([line]), [""])[:1] if line.startswith('"') else [line] for line in lines
        ]
    names = [name.strip().lower() for name in header]
    column = {
        role: next((names.index(n) for n in known if n in names), None)
        for role, known in _COLUMNS.items()
    }
    if column["text"] is None:
        raise TranscriptError(
            f"{path}: no column of text; want start,end,speaker,text (or text alone), have "
            f"{', '.join(name[:20] for name in header[:12])}"
        )
    # separators too many belong to the last column, usually the text
    rows = [[*row[: len(names) - 1], separator.join(row[len(names) - 1 :])] for row in rows]

    def cell(row: list[str], role: str) -> str:
        k = column[role]
        return row[k] if k is not None and k < len(row) else ""

    if "dialogue_id" in names and len({row[names.index("dialogue_id")] for row in rows}) > 1:
        raise TranscriptError(
            f"{path}: holds several dialogues; keep the rows of the one that the medium shows, with "
            f"times counted from its start"
        )
    said = [
        Utterance(
            _seconds(cell(row, "start")),
            _seconds(cell(row, "end")),
            _clean(cell(row, "text")),
            _clean(cell(row, "speaker")),
        )
        for row in rows
    ]
    return _prefixes([one for one in said if one.text])


def _plain(text: str, path: Path) -> list[Utterance]:
    return _prefixes(
        [Utterance(math.nan, math.nan, _clean(line)) for line in text.splitlines() if _clean(line)]
    )


def _textgrid(text: str, path: Path) -> list[Utterance]:
    """Intervals with text of every interval tier, its name the speaker; tiers of phones are passed over."""
    from pympi.Praat import TextGrid

    grid = TextGrid(xmax=1)
    grid.tiers.clear()
    try:
        source = path.read_bytes()
        grid.from_file(
            io.BytesIO(source if source.startswith(b"ooBinaryFile") else text.encode()), "utf-8"
        )
    except (
        Exception
    ) as error:  # pympi raises whatever its parser trips over, StopIteration included
        raise TranscriptError(
            f"{path}: not a readable TextGrid ({type(error).__name__} while parsing); save it from "
            f"Praat as text"
        ) from error
    tiers = [t for t in grid.tiers if t.tier_type == "IntervalTier"]
    spoken = [
        t for t in tiers if not re.search(r"\bphon(e|eme)s?$", t.name, re.IGNORECASE)
    ] or tiers
    return sorted(
        (
            Utterance(float(start), float(end), _clean(said), _clean(tier.name))
            for tier in spoken
            for start, end, said in tier.intervals
        ),
        key=lambda u: (u.start, u.end),
    )


READERS: dict[str, Callable[[str, Path], list[Utterance]]] = {
    ".srt": _subtitles("srt"),
    ".vtt": _subtitles("vtt"),
    ".textgrid": _textgrid,
    ".csv": _csv,
    ".txt": _plain,
}
