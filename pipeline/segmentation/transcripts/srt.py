"""SubRip: numbered cues, `hh:mm:ss,mmm --> hh:mm:ss,mmm`."""

from __future__ import annotations

import math
from dataclasses import replace

from pipeline.core.dialogue import Utterance
from pipeline.segmentation.transcripts.cue import Cue, find_times, read_times
from pipeline.segmentation.transcripts.heads import split_head
from pipeline.segmentation.transcripts.markup import one_line, plain
from pipeline.segmentation.transcripts.source import Source
from pipeline.segmentation.transcripts.speech import speech_of_cues

__all__ = ["read_srt"]


def read_srt(source: Source) -> list[Utterance]:
    """Read SubRip subtitles."""
    cues = _cues(source)
    heads = [split_head(one_line(plain(cue.text))) for cue in cues]
    if cues and 2 * sum(head is not None for head in heads) >= len(cues):
        own = [
            Utterance(cue.start, cue.end, head[1], head[0])
            for cue, head in zip(cues, heads, strict=True)
            if head is not None
        ]
        others = [cue for cue, head in zip(cues, heads, strict=True) if head is None]
        source.ignore_emotions("[...] before the texts")
        speech = speech_of_cues(_with_breaks(others), source)
        return sorted([*own, *speech], key=lambda u: (u.start, u.end))
    return speech_of_cues(_with_breaks(cues), source)


def _with_breaks(cues: list[Cue]) -> list[Cue]:
    """Break lines at \\N, which files that were converted from ASS have kept."""
    return [replace(cue, text=cue.text.replace("\\N", "\n")) for cue in cues]


def _cues(source: Source) -> list[Cue]:
    """Split a file at its lines with times.

    A blank line does not end a cue: editors leave blank lines inside. A number alone on the line
    before the times is the number of the cue.
    """
    lines = source.text.split("\n")
    marks = [(k, times) for k, line in enumerate(lines) if (times := find_times(line))]
    _leave_out_head(lines[: marks[0][0]] if marks else lines, source)
    cues: list[Cue] = []
    ends = [first for first, _ in marks[1:]] + [len(lines)]
    for (first, times), after in zip(marks, ends, strict=len(marks) > 0):
        body = lines[first + 1 : after]
        if after < len(lines):
            body = _without_number(body, len(cues) + 2)
        body = _without_unreadable(body, source)
        start, end = read_times(times, source)
        text = "\n".join(line for line in body if line.strip())
        if math.isnan(start) or math.isnan(end):
            source.leave_out("their times cannot be read", f"{lines[first]} {text}")
        elif not text:
            source.leave_out("cues without words", lines[first])
        else:
            cues.append(Cue(start, end, text))
    return cues


def _without_number(body: list[str], number: int) -> list[str]:
    """Remove the number of the next cue from the end of a cue."""
    last = len(body) - 1
    while last >= 0 and not body[last].strip():
        last -= 1
    if last < 0 or not body[last].strip().isdigit():
        return body
    after_blank = last == 0 or not body[last - 1].strip()
    return body[:last] if after_blank or body[last].strip() == str(number) else body


def _without_unreadable(body: list[str], source: Source) -> list[str]:
    """Remove cues whose times cannot be read: a blank line, a number, an arrow."""
    for k, line in enumerate(body):
        after_blank = k > 0 and (not body[k - 1].strip() or body[k - 1].strip().isdigit())
        if "-->" in line[:60] and after_blank and any(c.isdigit() for c in line[:60]):
            first = k - 1 if body[k - 1].strip().isdigit() else k
            text = " ".join(part for part in body[k:] if part.strip())
            source.leave_out("their times cannot be read", text)
            return body[:first]
    return body


def _leave_out_head(lines: list[str], source: Source) -> None:
    """Account for the lines before the first cue; the last of them may be its number."""
    filled = [line for line in lines if line.strip()]
    if filled and filled[-1].strip().isdigit():
        filled = filled[:-1]
    unreadable = any("-->" in line for line in filled)
    reason = "their times cannot be read" if unreadable else "before the first cue"
    for line in filled:
        if not (unreadable and line.strip().isdigit()):
            source.leave_out(reason, line)
