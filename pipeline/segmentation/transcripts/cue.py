"""Find the cues of SubRip and WebVTT files: a line with two times, and the lines after it.

pysubs2 is not used here, because it loses cues that people have: a cue with a time of mm:ss, and a
cue whose words hold two clock times. It also takes braces for styles, and the identifier of a
WebVTT cue for words. The tests compare the cues of ordinary files with pysubs2's.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from pipeline.segmentation.transcripts.clock import FrameRateNeeded, has_frames, seconds
from pipeline.segmentation.transcripts.source import Source, TranscriptError

__all__ = ["Cue", "find_times", "read_times"]

_CLOCK = r"-?\d{1,9}(?::\d{1,9}){1,3}(?:[.,;]\d{1,15})?"
_TIMES = re.compile(rf"\s*({_CLOCK})\s*-{{1,2}}>\s*({_CLOCK})(?:\s+(?![^\s:]*\s*->).*)?\s*")
_ARROW = re.compile(r"^[^-]{0,60}-{1,2}>")


@dataclass(frozen=True)
class Cue:
    """A cue: times in seconds, and its text with markup and line ends."""

    start: float
    end: float
    text: str


def find_times(line: str) -> tuple[str, str] | None:
    """Return the two times of a line such as `00:00:01,000 --> 00:00:02,000`, else None."""
    if "->" not in line:
        return None
    match = _TIMES.fullmatch(line[:400])
    return (match[1], match[2]) if match else None


def read_times(times: tuple[str, str], source: Source) -> tuple[float, float]:
    """Read the times of a cue; NaN if one of them is no time.

    Raises TranscriptError if they count frames and the frame rate is not known.
    """
    try:
        start, end = (seconds(time, source.frame_rate) for time in times)
    except FrameRateNeeded as error:
        raise frames_unreadable(source, str(error), "the times") from error
    if math.isnan(start) and has_frames(times[0]):
        return math.nan, math.nan
    return start, end


def frames_unreadable(source: Source, time: str, where: str) -> TranscriptError:
    """Return the error for times in frames of a recording without video."""
    return TranscriptError(
        f"{source.path}: {where} count frames ({time}), and the recording has no frame rate",
        "give the video instead of its sound, or write the times as hh:mm:ss.mmm",
    )
