"""Praat TextGrid: an interval tier of texts and one of emotions per speaker."""

from __future__ import annotations

from typing import Any

from pipeline.exports.rows import tier_names, tiers

__all__ = ["write"]

Interval = tuple[int, int, str]  # start and end in ms, text


def write(result: dict[str, Any]) -> bytes:
    """Format a result as a TextGrid in the long text format. Gaps become empty intervals."""
    spans_of = tiers(result)
    last = max((spans[-1].end for spans in spans_of.values()), default=0)
    end = max(round(1000 * result.get("duration", 0)), last, 1)  # ms
    content: list[tuple[str, list[Interval]]] = []
    for speaker, (text_tier, emotion_tier) in tier_names(list(spans_of)).items():
        spans = spans_of[speaker]
        content.append((text_tier, [(span.start, span.end, span.text) for span in spans]))
        content.append((emotion_tier, [(span.start, span.end, span.emotion) for span in spans]))
    content = content or [("emotion", [])]  # Praat cannot open a grid without tiers
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {end / 1000}",
        "tiers? <exists>",
        f"size = {len(content)}",
        "item []:",
    ]
    for number, (name, intervals) in enumerate(content, 1):
        lines += _tier(number, name, _fill_gaps(intervals, end), end)
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def _tier(number: int, name: str, intervals: list[Interval], end: int) -> list[str]:
    lines = [
        f"    item [{number}]:",
        '        class = "IntervalTier"',
        f"        name = {_quoted(name)}",
        "        xmin = 0",
        f"        xmax = {end / 1000}",
        f"        intervals: size = {len(intervals)}",
    ]
    for index, (start, stop, text) in enumerate(intervals, 1):
        lines += [
            f"        intervals [{index}]:",
            f"            xmin = {start / 1000}",
            f"            xmax = {stop / 1000}",
            f"            text = {_quoted(text)}",
        ]
    return lines


def _fill_gaps(intervals: list[Interval], end: int) -> list[Interval]:
    """Add empty intervals so that 0 to end is covered."""
    filled: list[Interval] = []
    time = 0
    for start, stop, text in intervals:
        if start > time:
            filled.append((time, start, ""))
        filled.append((start, stop, text))
        time = stop
    if time < end:
        filled.append((time, end, ""))
    return filled


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
