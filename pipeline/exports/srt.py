"""SubRip subtitles: "SPEAKER [emotion]: text", one line per cue.

pysubs2 is not used here: it takes braces in a text for style tags and removes them.
"""

from __future__ import annotations

from typing import Any

from pipeline.exports.escapes import escape
from pipeline.exports.rows import head_of, line

__all__ = ["cue_times", "write"]


def write(result: dict[str, Any]) -> bytes:
    """Format a result as subtitles, one cue per utterance."""
    cues = []
    for number, utterance in enumerate(sorted(result["utterances"], key=lambda u: u["start"]), 1):
        text = f"{head_of(utterance)} {escape(line(utterance['text']))}".rstrip()
        cues.append(f"{number}\n{cue_times(utterance, ',')}\n{text}\n")
    return "\n".join(cues).encode("utf-8", "replace")


def cue_times(utterance: dict[str, Any], point: str) -> str:
    """Format the times of a cue, which lasts at least 1 ms.

    >>> cue_times({"start": 0.5, "end": 61.25}, ",")
    '00:00:00,500 --> 00:01:01,250'
    """
    start = max(0, round(1000 * utterance["start"]))
    end = max(round(1000 * utterance["end"]), start + 1)
    return f"{_clock(start, point)} --> {_clock(end, point)}"


def _clock(ms: int, point: str) -> str:
    seconds = f"{ms // 1000 % 60:02}{point}{ms % 1000:03}"
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{seconds}"
