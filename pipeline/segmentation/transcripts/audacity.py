"""Audacity label tracks: start, end and label, separated by tabs."""

from __future__ import annotations

import math

from pipeline.core.dialogue import Utterance
from pipeline.segmentation.transcripts.clock import seconds
from pipeline.segmentation.transcripts.heads import split_head
from pipeline.segmentation.transcripts.markup import one_line
from pipeline.segmentation.transcripts.source import Source
from pipeline.segmentation.transcripts.speech import Piece, split_speakers

__all__ = ["is_audacity", "read_audacity"]

Label = tuple[float, float, str]


def is_audacity(text: str) -> bool:
    """Whether at least half of the lines of a text are labels."""
    lines = [line for line in text.split("\n") if line.strip()]
    return bool(lines) and 2 * sum(_label(line) is not None for line in lines) >= len(lines)


def read_audacity(source: Source) -> list[Utterance]:
    """Read a label track; a line of frequencies (after a backslash) belongs to the label before."""
    labels: list[Label] = []
    for line in source.text.split("\n"):
        label = _label(line)
        if label:
            labels.append(label)
        elif line.strip() and not line.startswith("\\"):
            source.leave_out("no start, end and label", line)
    heads = [split_head(text) for _, _, text in labels]
    if labels and 2 * sum(head is not None for head in heads) >= len(labels):
        own = [
            Utterance(start, end, head[1], head[0])
            for (start, end, _), head in zip(labels, heads, strict=True)
            if head is not None
        ]
        source.ignore_emotions("[...] before the texts")
        others = [label for label, head in zip(labels, heads, strict=True) if head is None]
        return sorted([*own, *_speech(others, source)], key=lambda u: (u.start, u.end))
    return _speech(labels, source)


def _speech(labels: list[Label], source: Source) -> list[Utterance]:
    pieces = []
    for k, (_, _, text) in enumerate(labels):
        if text:
            pieces.append(Piece(k, (text,)))
        else:
            source.leave_out("labels without text", f"{labels[k][0]:g} s")
    pieces = split_speakers(pieces, source, carry=0.5)
    return [Utterance(*labels[p.cue][:2], p.text, p.speaker) for p in pieces]


def _label(line: str) -> Label | None:
    fields = line.split("\t", 2)
    if len(fields) < 2:
        return None
    start, end = seconds(fields[0]), seconds(fields[1])
    if math.isnan(start) or math.isnan(end):
        return None
    return start, end, one_line(fields[2]) if len(fields) == 3 else ""
