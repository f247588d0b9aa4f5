"""Bring times to seconds from the recording's start: milliseconds, programme time, no ends."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

from pipeline.core.dialogue import Utterance
from pipeline.segmentation.transcripts.source import Source

__all__ = ["fit_to_recording"]

SLOWEST = 0.05  # words per second; slower speech means that the times are milliseconds
HOUR = 3600.0  # s
TOLERANCE = 2.0  # s; a transcript may end this much after its recording
PROGRAMME = (HOUR, 10 * HOUR)  # s; where programme time usually starts
SOON = 60.0  # s; programme time of another hour, such as a second reel's, starts this soon
NEAR = 5.0  # s; a whole minute this near before the first time is taken for the start
WORD = 0.4  # s; for an utterance whose end is nowhere said


def fit_to_recording(utterances: list[Utterance], source: Source) -> list[Utterance]:
    """Convert times in milliseconds and programme time, and add ends that are not given."""
    if not source.unit_known:
        utterances = _from_milliseconds(utterances, source)
    utterances = _from_programme_time(utterances, source)
    return _with_ends(utterances, source)


def _from_milliseconds(utterances: list[Utterance], source: Source) -> list[Utterance]:
    """Divide times by 1000 if they are whole numbers and seconds are out of the question."""
    times = [t for u in utterances for t in (u.start, u.end) if math.isfinite(t)]
    if not times or any(t != round(t) for t in times) or max(times) < 100:
        return utterances
    words = sum(len(u.text.split()) for u in utterances)
    length = sum(u.end - u.start for u in utterances if math.isfinite(u.end - u.start))
    if length and words / length >= SLOWEST:
        return utterances
    last = max(times)
    if source.duration is not None:
        fits = last <= source.duration + TOLERANCE
        fits_as_ms = last / 1000 <= source.duration + max(TOLERANCE, 0.1 * source.duration)
        if fits or not fits_as_ms:
            return utterances
    source.warn("its times are whole numbers too large for seconds; they are read as milliseconds")
    return [replace(u, start=u.start / 1000, end=u.end / 1000) for u in utterances]


def _from_programme_time(utterances: list[Utterance], source: Source) -> list[Utterance]:
    """Subtract whole hours from a transcript that starts at 01:00:00, or the time of day."""
    times = [t for u in utterances for t in (u.start, u.end) if math.isfinite(t)]
    if not times or source.duration is None:
        return utterances
    first, last = min(times), max(times)
    longest = source.duration + TOLERANCE
    if first < HOUR or last <= longest:
        return utterances
    zero = math.floor(first / HOUR) * HOUR
    programme = not source.of_day and (zero in PROGRAMME or first - zero <= SOON)
    if programme and last - zero <= longest:
        text = f"its times start at {_clock(zero)}, which is taken for the recording's start"
    else:
        zero = _start_of_day_clock(first)
        if first <= longest or last - zero > longest:
            return utterances
        text = (
            f"its times are a clock's, the first is {_clock(first)}; {_clock(zero)} is taken for "
            "the recording's start, so all times may be shifted"
        )
    source.warn(text)
    # rounded to 1 µs: differences of large numbers have a long tail
    return [
        replace(u, start=round(u.start - zero, 6), end=round(u.end - zero, 6)) for u in utterances
    ]


def _start_of_day_clock(first: float) -> float:
    """Return the whole minute before the first time if it is near, else the whole second.

    Nothing says when the recording started; people rarely wait long before they speak.
    """
    minute = math.floor(first / 60) * 60.0
    return minute if first - minute <= NEAR else float(math.floor(first))


def _clock(time: float) -> str:
    minutes, rest = divmod(math.floor(time), 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest:02}"


def _with_ends(utterances: list[Utterance], source: Source) -> list[Utterance]:
    """Let an utterance without an end last until the next one, the last one to the end."""
    open_ended = [u for u in utterances if math.isfinite(u.start) and math.isnan(u.end)]
    if not open_ended:
        return utterances
    starts = sorted({u.start for u in utterances if math.isfinite(u.start)})
    following = dict(pairwise(starts))
    result = []
    for u in utterances:
        if math.isfinite(u.start) and math.isnan(u.end):
            spoken = u.start + max(1.0, WORD * len(u.text.split()))
            end = following.get(u.start, max(source.duration or spoken, u.start + 0.001))
            u = replace(u, end=end)
        result.append(u)
    source.warn(
        f"{len(open_ended)} utterances have a start but no end; each lasts until the next one"
    )
    return result
