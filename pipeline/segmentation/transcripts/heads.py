"""Recognise what merc itself writes before a text: "SPEAKER [emotion]: text"."""

from __future__ import annotations

from pipeline.exports.escapes import speaker_named, unescape

__all__ = ["split_head", "split_label"]

LONGEST = 400  # characters before the text


def split_head(line: str) -> tuple[str, str] | None:
    """Split "SPEAKER [emotion]: text" into speaker and text; None for any other line.

    >>> split_head("S1 [joy]: Hello: [you]")
    ('S1', 'Hello: [you]')
    """
    end = line.find("]:", 0, LONGEST)
    start = line.rfind(" [", 0, end)
    if end < 0 or start < 1 or start + 2 == end or line[end + 2 : end + 3].strip():
        return None
    return speaker_named(line[:start]), unescape(line[end + 2 :].strip())


def split_label(line: str) -> str | None:
    """Return the text of "[emotion] text"; None for any other line.

    >>> split_label("[joy] Hello")
    'Hello'
    """
    end = line.find("]", 0, LONGEST)
    while end >= 0 and line[end + 1 : end + 2].strip():
        end = line.find("]", end + 1, LONGEST)
    if not line.startswith("[") or end < 2:
        return None
    return unescape(line[end + 1 :].strip())
