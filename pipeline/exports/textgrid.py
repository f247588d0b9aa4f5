"""Praat TextGrid: per speaker an interval tier of words and one of emotions; gaps are empty intervals."""

from __future__ import annotations

from typing import Any

from pipeline.exports.rows import Span, tier_names, tiers

__all__ = ["write"]


def write(result: dict[str, Any]) -> bytes:
    speakers = tiers(result)
    last = max((spans[-1].end for spans in speakers.values()), default=0)
    end = max(round(1000 * result.get("duration", 0)), last, 1)  # ms
    names = tier_names(list(speakers))
    content = [
        (name, [(span.start, span.end, text(span)) for span in spans])
        for speaker, spans in speakers.items()
        for name, text in zip(names[speaker], (_words, _emotion), strict=True)
    ]
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
    for number, (name, said) in enumerate(content, 1):
        intervals = _filled(said, end)
        lines += [
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
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def _words(span: Span) -> str:
    return span.text


def _emotion(span: Span) -> str:
    return span.emotion


def _filled(said: list[tuple[int, int, str]], end: int) -> list[tuple[int, int, str]]:
    """Intervals that cover 0..end."""
    filled, time = [], 0
    for start, stop, text in said:
        if start > time:
            filled.append((time, start, ""))
        filled.append((start, stop, text))
        time = stop
    return filled + ([(time, end, "")] if time < end else [])


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
