"""WebVTT (W3C): blocks between blank lines; cues, notes, styles and regions."""

from __future__ import annotations

import math
import re

from pipeline.core.dialogue import Utterance
from pipeline.exports.escapes import speaker_named
from pipeline.segmentation.transcripts.cue import Cue, find_times, read_times
from pipeline.segmentation.transcripts.heads import split_label
from pipeline.segmentation.transcripts.markup import one_line, plain
from pipeline.segmentation.transcripts.source import Source
from pipeline.segmentation.transcripts.speech import VOICE, speech_of_cues

__all__ = ["read_vtt"]

_OTHER_BLOCKS = re.compile(r"(?:WEBVTT|NOTE|STYLE|REGION)(?:\s|$)|\ufeff?WEBVTT")


def read_vtt(source: Source) -> list[Utterance]:
    """Read WebVTT subtitles."""
    cues = _cues(source)
    own = [_own(cue) for cue in cues]
    if cues and 2 * sum(u is not None for u in own) >= len(cues):
        others = [cue for cue, u in zip(cues, own, strict=True) if u is None]
        source.ignore_emotions("[...] before the texts")
        utterances = [u for u in own if u is not None]
        return sorted(
            [*utterances, *speech_of_cues(others, source)], key=lambda u: (u.start, u.end)
        )
    return speech_of_cues(cues, source)


def _own(cue: Cue) -> Utterance | None:
    """Read a cue as merc writes it: `<v SPEAKER>[emotion] text`."""
    voice = VOICE.match(cue.text)
    if voice is None or VOICE.search(cue.text, voice.end()):
        return None
    text = split_label(one_line(plain(cue.text[voice.end() :], styles=False)))
    if text is None:
        return None
    name = one_line(plain(voice[1], styles=False))
    return Utterance(cue.start, cue.end, text, speaker_named(name))


def _cues(source: Source) -> list[Cue]:
    """Read the blocks that have a line with times; other blocks are notes or accounted for."""
    cues = []
    for number, block in enumerate(_blocks(source.text)):
        marks = [k for k, line in enumerate(block) if find_times(line)]
        if not marks:
            if not _OTHER_BLOCKS.match(block[0]):
                _leave_out(block, source)
            continue
        if _OTHER_BLOCKS.match(block[0]) and number and block[0].startswith("NOTE"):
            continue  # a cue that is commented out
        for first, after in zip(marks, [*marks[1:], len(block)], strict=True):
            times = find_times(block[first])
            assert times
            start, end = read_times(times, source)
            text = "\n".join(block[first + 1 : after])
            if math.isnan(start) or math.isnan(end):
                source.leave_out("their times cannot be read", f"{block[first]} {text}")
            elif not text.strip():
                source.leave_out("cues without words", block[first])
            else:
                cues.append(Cue(start, end, text))
    return cues


def _blocks(text: str) -> list[list[str]]:
    blocks: list[list[str]] = [[]]
    for line in text.split("\n"):
        if line:  # a line of white space alone does not end a block
            blocks[-1].append(line)
        elif blocks[-1]:
            blocks.append([])
    return [block for block in blocks if any(line.strip() for line in block)]


def _leave_out(block: list[str], source: Source) -> None:
    reason = "no times before them"
    if any("-->" in line for line in block):
        reason = "their times cannot be read"
    source.leave_out(reason, " ".join(block))
