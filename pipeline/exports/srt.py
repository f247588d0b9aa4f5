"""SubRip subtitles: "SPEAKER [emotion]: text".

Own lines rather than pysubs2's, which takes braces in a text for style tags and drops them.
"""

from __future__ import annotations

from typing import Any

from pipeline.exports.rows import line, speaker_of

__all__ = ["clock", "write"]


def write(result: dict[str, Any]) -> bytes:
    cues = []
    for number, utterance in enumerate(sorted(result["utterances"], key=lambda u: u["start"]), 1):
        text = line(
            f"{speaker_of(utterance)} [{utterance['emotion']}]: {utterance['text']}"
        ).replace("-->", "->")
        cues.append(f"{number}\n{clock(utterance, ',')}\n{text}\n")
    return "\n".join(cues).encode("utf-8", "replace")


def clock(utterance: dict[str, Any], point: str) -> str:
    """hh:mm:ss,mmm --> hh:mm:ss,mmm; a cue lasts at least 1 ms."""
    start = max(0, round(1000 * utterance["start"]))
    end = max(round(1000 * utterance["end"]), start + 1)
    return " --> ".join(
        f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}{point}{ms % 1000:03}"
        for ms in (start, end)
    )
