"""Merge rolling, growing and karaoke captions, which show the same words in several cues."""

from __future__ import annotations

from dataclasses import replace

from pipeline.segmentation.transcripts.cue import Cue
from pipeline.segmentation.transcripts.markup import one_line, spoken

__all__ = ["merge_rolling"]

ADJACENT = 0.2  # s; repeated words after a longer gap were said twice
GROWS = -1
SHARE = 0.3  # of the pairs of cues; with fewer repetitions the captions are ordinary


def merge_rolling(cues: list[Cue]) -> tuple[list[Cue], int]:
    """Return cues without the lines that the cue before already showed, and how many changed.

    Only if such repetitions are common in the file: people do say "No." twice.
    """
    lines = [_lines(cue) for cue in cues]
    repeated = [0]
    for k in range(1, len(cues)):
        adjacent = -ADJACENT <= cues[k].start - cues[k - 1].end <= ADJACENT
        repeated.append(_repeated(lines[k - 1], lines[k]) if adjacent else 0)
    changed = sum(count != 0 for count in repeated)
    if not changed or changed < SHARE * (len(cues) - 1) or (changed < 2 and len(cues) > 2):
        return cues, 0
    merged: list[Cue] = []
    for cue, shown, count in zip(cues, lines, repeated, strict=True):
        if count == 0:
            merged.append(cue)
        elif count == GROWS:
            merged[-1] = replace(merged[-1], end=cue.end, text=cue.text)
        elif count < len(shown):
            merged.append(replace(cue, text="\n".join(_raw_lines(cue)[count:])))
        elif _lines(merged[-1]) == shown:  # a line that stays below another one is over
            merged[-1] = replace(merged[-1], end=max(cue.end, merged[-1].end))
    return merged, changed


def _repeated(before: list[str], shown: list[str]) -> int:
    """Return how many lines the cue before already shows, GROWS if it shows the first words."""
    for count in range(min(len(before), len(shown)), 0, -1):
        if before[-count:] == shown[:count]:
            return count
    grows = before and " ".join(shown).startswith(" ".join(before) + " ")
    return GROWS if grows else 0


def _raw_lines(cue: Cue) -> list[str]:
    return [line for line in cue.text.split("\n") if one_line(spoken(line))]


def _lines(cue: Cue) -> list[str]:
    return [one_line(spoken(line)) for line in _raw_lines(cue)]
