"""WebVTT: speakers as voices, `<v SPEAKER>[emotion] text`."""

from __future__ import annotations

import html
from typing import Any

from pipeline.exports.escapes import escape, escape_label, escape_name
from pipeline.exports.rows import label_of, line
from pipeline.exports.srt import cue_times

__all__ = ["write"]


def write(result: dict[str, Any]) -> bytes:
    """Format a result as subtitles, one cue per utterance."""
    cues = ["WEBVTT\n"]
    for number, utterance in enumerate(sorted(result["utterances"], key=lambda u: u["start"]), 1):
        # escaping `>` also breaks up `-->`
        voice = _entities(escape_name(line(utterance["speaker"]), syntax=False))
        label = escape_label(line(label_of(utterance)), syntax=False)
        text = escape(line(utterance["text"]), syntax=False)
        body = _entities(f"[{label}] {text}".rstrip())
        cues.append(f"{number}\n{cue_times(utterance, '.')}\n<v {voice}>{body}\n")
    return "\n".join(cues).encode("utf-8", "replace")


def _entities(text: str) -> str:
    return html.escape(text, quote=False)
