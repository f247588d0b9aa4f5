"""WebVTT: speakers as voices, `<v SPEAKER>[emotion] text`."""

from __future__ import annotations

import html
from typing import Any

from pipeline.exports.rows import line, speaker_of
from pipeline.exports.srt import cue_times

__all__ = ["write"]


def write(result: dict[str, Any]) -> bytes:
    """Format a result as subtitles, one cue per utterance."""
    cues = ["WEBVTT\n"]
    for number, utterance in enumerate(sorted(result["utterances"], key=lambda u: u["start"]), 1):
        # escaping `>` also breaks up `-->`
        voice = html.escape(speaker_of(utterance), quote=False)
        text = html.escape(line(f"[{utterance['emotion']}] {utterance['text']}"), quote=False)
        cues.append(f"{number}\n{cue_times(utterance, '.')}\n<v {voice}>{text}\n")
    return "\n".join(cues).encode("utf-8", "replace")
