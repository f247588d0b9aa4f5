"""Find and read transcripts, one format per module; RTTM files say who speaks when.

A new format is one module with `read_NAME(source) -> list[Utterance]` and one line in `READERS`.
A transcript without times gives utterances whose start and end are NaN;
`pipeline.segmentation.alignment` finds their times.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from pipeline.core.dialogue import Utterance
from pipeline.core.errors import MercWarning
from pipeline.segmentation.transcripts.csv import read_csv
from pipeline.segmentation.transcripts.eaf import read_eaf
from pipeline.segmentation.transcripts.finding import find_transcript
from pipeline.segmentation.transcripts.json import read_json, read_jsonl, read_parquet
from pipeline.segmentation.transcripts.plain import read_plain
from pipeline.segmentation.transcripts.rttm import read_rttm
from pipeline.segmentation.transcripts.source import NothingInItError, Source, TranscriptError
from pipeline.segmentation.transcripts.srt import read_srt
from pipeline.segmentation.transcripts.textgrid import read_textgrid
from pipeline.segmentation.transcripts.units import fit_to_recording
from pipeline.segmentation.transcripts.vtt import read_vtt

__all__ = ["READERS", "TranscriptError", "find_transcript", "read_rttm", "read_transcript"]

READERS: dict[str, Callable[[Source], list[Utterance]]] = {
    ".srt": read_srt,
    ".vtt": read_vtt,
    ".textgrid": read_textgrid,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".eaf": read_eaf,
    ".json": read_json,
    ".jsonl": read_jsonl,
    ".parquet": read_parquet,
    ".txt": read_plain,
}


def read_transcript(
    path: Path,
    warnings: list[MercWarning] | None = None,
    *,
    frame_rate: float | None = None,
    duration: float | None = None,
    recording: str | None = None,
    copies: bool = False,
) -> list[Utterance]:
    """Read the utterances of a transcript, in the order of the file.

    Times are in seconds, NaN if the file has none. Every line of the file is used, merged with
    another one, or counted in `warnings` with the reason.

    Args:
        warnings: is appended to.
        frame_rate: of the recording's video, for times such as 00:00:02:05.
        duration: of the recording in seconds; tells milliseconds and programme time from seconds.
        recording: its file name; of JSON Lines that name several, only its own are read.
        copies: keep what the file has twice, with the same times, speaker and words.

    Raises TranscriptError (unknown format, no utterances, wrong columns, several recordings) or
    OSError (missing, not readable).
    """
    path = Path(path)
    if path.is_dir():
        raise TranscriptError(f"{path}: a folder, not a file", "name the files in it")
    source = Source(path, frame_rate, duration, recording)
    source.warnings = [] if warnings is None else warnings
    reader = READERS.get(source.path.suffix.lower())
    if reader is None:
        raise TranscriptError(
            f"{path}: merc does not read transcripts of this format",
            f"convert it, for example to .srt; merc reads {', '.join(READERS)}",
        )
    if source.is_blank:
        raise NothingInItError(f"{path}: the file is empty", "write it again, or remove it")
    utterances = _with_times(reader(source), source)
    if not copies:
        utterances = _without_copies(utterances, source)
    if not utterances:
        reasons = "; ".join(source.reasons())
        error = TranscriptError if reasons else NothingInItError
        raise error(
            f"{path}: no utterances in this file" + (f": {reasons}" if reasons else ""),
            f"check that it is a {source.path.suffix} file with text",
        )
    source.report()
    return fit_to_recording(utterances, source)


def _with_times(utterances: list[Utterance], source: Source) -> list[Utterance]:
    """Leave out utterances without times, unless no utterance has any."""
    timed = [u for u in utterances if math.isfinite(u.start)]
    if not timed:
        return utterances
    for utterance in utterances:
        if not math.isfinite(utterance.start):
            source.leave_out("they have no times", utterance.text)
    return timed


def _without_copies(utterances: list[Utterance], source: Source) -> list[Utterance]:
    """Leave out utterances that the file has twice, as after two subtitle files were joined."""
    seen, result = set(), []
    for utterance in utterances:
        key = (utterance.start, utterance.end, utterance.speaker, utterance.text)
        if key in seen and math.isfinite(utterance.end):
            source.leave_out("in the file twice, with the same times and words", utterance.text)
        else:
            seen.add(key)
            result.append(utterance)
    return result
