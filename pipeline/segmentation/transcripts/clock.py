"""Times as transcripts write them: seconds, clock times, frames."""

from __future__ import annotations

import math
import re

__all__ = ["CLOCK", "FrameRateNeeded", "has_frames", "is_of_day", "seconds"]

# a clock time inside a line of text, such as 0:03, 00:00:03.5 or 1:02:03; group names are the
# caller's
CLOCK = r"(?:\d{1,3}:)?\d{1,3}:\d{2}(?:[.,]\d{1,6}|[:;]\d{2}(?!\d))?(?:\s?[AaPp]\.?[Mm]\b\.?)?"

_TIME = re.compile(
    r"(-?)(?:(?:(\d{1,9}):)?(\d{1,9}):)?(\d{1,15}(?:[.,]\d{0,15})?|[.,]\d{1,15})\s*s?"
)
# hh:mm:ss:ff; Premiere Pro writes drop-frame times as hh;mm;ss;ff
_FRAMES = re.compile(r"(-?)(\d{1,9})[:;](\d{1,2})[:;](\d{1,2})([:;.])(\d{2})")
_COLON_MS = re.compile(r"(-?)(\d{1,9}):(\d{1,2}):(\d{1,2}):(\d{3})")  # hh:mm:ss:mmm
_LETTERS = re.compile(
    r"(?:(\d{1,9})\s*h\s*)?(?:(\d{1,9})\s*m(?:in)?\s*)?(\d{1,15}(?:[.,]\d{1,15})?)\s*s(?:ec)?"
)  # 1h 02m 03.5s
_OF_DAY = re.compile(
    r"(?:\d{4}-\d\d-\d\d[T ]\s*)?(\d{1,2}):(\d\d)(?::(\d\d(?:[.,]\d{1,9})?))?"
    r"(?:\s*([ap])\.?m\.?|Z|[+-]\d\d:?\d\d)?",
    re.IGNORECASE,
)


class FrameRateNeeded(ValueError):
    """A time counts frames, and the frame rate is not known."""


def seconds(text: str, frame_rate: float | None = None) -> float:
    """Read a time; NaN if it is something else, or no finite number.

    A time of day, such as 10:02 PM or 2024-05-01T22:02:00, is in seconds since midnight.

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
    match = _OF_DAY.fullmatch(text)
    if match:
        hours, minutes, rest, half = match.groups()
        hour = int(hours) % 12 + 12 * (half in "pP") if half else int(hours)
        return 3600 * hour + 60 * int(minutes) + float((rest or "0").replace(",", "."))
    match = _LETTERS.fullmatch(text)
    if match:
        hours, minutes, rest = match.groups()
        return 3600 * int(hours or 0) + 60 * int(minutes or 0) + float(rest.replace(",", "."))
    if has_frames(text):
        return _from_frames(text, frame_rate)
    return math.nan


def has_frames(text: str) -> bool:
    """Whether a time is hh:mm:ss:ff or, in drop-frame counting, hh:mm:ss;ff."""
    match = _FRAMES.fullmatch(text.strip())
    return match is not None and match[5] != "."


def is_of_day(text: str) -> bool:
    """Whether a time has AM, PM or a date.

    >>> is_of_day("10:02 am"), is_of_day("10:02:00")
    (True, False)
    """
    match = _OF_DAY.fullmatch(text.strip().strip("[]()"))
    return match is not None and (match[4] is not None or "-" in text[:5])


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
