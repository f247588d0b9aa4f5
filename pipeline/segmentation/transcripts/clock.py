"""Times as transcripts write them: seconds, clock times, frames."""

from __future__ import annotations

import math
import re

__all__ = ["CLOCK", "FrameRateNeeded", "has_frames", "seconds"]

# a clock time inside a line of text, such as 0:03, 00:00:03.5 or 1:02:03; group names are the
# caller's
CLOCK = r"(?:\d{1,3}:)?\d{1,3}:\d{2}(?:[.,]\d{1,6})?"

_TIME = re.compile(
    r"(-?)(?:(?:(\d{1,9}):)?(\d{1,9}):)?(\d{1,15}(?:[.,]\d{0,15})?|[.,]\d{1,15})\s*s?"
)
_FRAMES = re.compile(r"(-?)(\d{1,9}):(\d{1,2}):(\d{1,2})([:;.])(\d{2})")  # hh:mm:ss:ff
_COLON_MS = re.compile(r"(-?)(\d{1,9}):(\d{1,2}):(\d{1,2}):(\d{3})")  # hh:mm:ss:mmm


class FrameRateNeeded(ValueError):
    """A time counts frames, and the frame rate is not known."""


def seconds(text: str, frame_rate: float | None = None) -> float:
    """Read a time; NaN if it is something else, or no finite number.

    Raises FrameRateNeeded for hh:mm:ss:ff without a frame rate.

    >>> seconds("1:02,5"), seconds("00:14:38,127"), seconds("00:00:02:05", 25.0)
    (62.5, 878.127, 2.2)
    """
    text = text.strip().strip("[]()")
    match = _TIME.fullmatch(text)
    if match:
        sign, hours, minutes, rest = match.groups()
        time = 3600 * int(hours or 0) + 60 * int(minutes or 0) + float(rest.replace(",", "."))
        return -time if sign else time
    match = _COLON_MS.fullmatch(text)
    if match:
        sign, hours, minutes, rest, ms = match.groups()
        time = 3600 * int(hours) + 60 * int(minutes) + int(rest) + int(ms) / 1000
        return -time if sign else time
    if has_frames(text):
        return _from_frames(text, frame_rate)
    return math.nan


def has_frames(text: str) -> bool:
    """Whether a time is hh:mm:ss:ff or, in drop-frame counting, hh:mm:ss;ff."""
    match = _FRAMES.fullmatch(text.strip())
    return match is not None and match[5] != "."


def _from_frames(text: str, frame_rate: float | None) -> float:
    """Count the frames since 00:00:00:00 and divide by the frame rate (SMPTE ST 12-1)."""
    if frame_rate is None:
        raise FrameRateNeeded(text)
    match = _FRAMES.fullmatch(text.strip())
    assert match
    sign, hours, minutes, rest, separator, frame = match.groups()
    nominal = round(frame_rate)
    if int(frame) >= nominal:
        return math.nan
    total_minutes = 60 * int(hours) + int(minutes)
    count = (60 * total_minutes + int(rest)) * nominal + int(frame)
    if separator == ";":  # two numbers of each 30 are dropped every minute, but every tenth
        count -= 2 * (nominal // 30) * (total_minutes - total_minutes // 10)
    time = count / frame_rate
    return -time if sign else time
