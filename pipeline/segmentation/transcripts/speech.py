"""From the cues of subtitles to utterances: who speaks, and what is spoken."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import pairwise

from pipeline.core.dialogue import Utterance
from pipeline.exports.escapes import unescape
from pipeline.segmentation.transcripts.cue import Cue
from pipeline.segmentation.transcripts.markup import one_line, spoken
from pipeline.segmentation.transcripts.prefixes import accept_prefixes, find_prefix, is_capitalised
from pipeline.segmentation.transcripts.rolling import merge_rolling
from pipeline.segmentation.transcripts.sounds import without_sounds
from pipeline.segmentation.transcripts.source import Source

__all__ = ["VOICE", "Piece", "speech_of_cues", "split_speakers"]

# `<v Anna>`, `<v.loud Anna>`; cannot run over another "<", so the time is linear
VOICE = re.compile(r"<v(?:\.[^\s<>]*)?[ \t]+([^<>]+)>", re.IGNORECASE)
_DASH = re.compile(r"^\s*[-–—‐]\s*(?=[^\s\d-])|^\s*>{2,}\s*")
_INNER_DASH = re.compile(r"(?<=[.?!…\"”]) [-–—] (?=\S)")


@dataclass(frozen=True)
class Piece:
    """What one speaker says in a cue, line by line.

    turn: whether a dash or ">>" says that another person speaks.
    """

    cue: int
    lines: tuple[str, ...]
    speaker: str = ""
    turn: bool = False

    @property
    def text(self) -> str:
        return one_line(" ".join(self.lines))


def speech_of_cues(cues: list[Cue], source: Source) -> list[Utterance]:
    """Return what is spoken in cues: one utterance for each speaker of a cue."""
    cues, merged = merge_rolling(cues)
    if merged:
        source.warn(f"rolling captions: the repeated lines of {merged} cues are merged")
    pieces = [
        piece
        for index, cue in enumerate(cues)
        for voice in _voices(index, cue.text)
        for piece in _dashes(voice)
    ]
    pieces = split_speakers(pieces, source, carry=0.5)
    counts: dict[int, int] = {}
    for piece in pieces:
        counts[piece.cue] = counts.get(piece.cue, 0) + 1
    shared = sum(count > 1 for count in counts.values())
    if shared:
        source.warn(
            f"{shared} cues hold the words of several speakers; each cue's time is shared in "
            "proportion to their letters"
        )
    return _timed(pieces, cues)


def split_speakers(
    pieces: list[Piece], source: Source, carry: float, sounds: bool = True
) -> list[Piece]:
    """Split speakers off the texts and leave out sounds.

    sounds: False keeps texts that describe sounds.

    carry: from this share of texts with a name on, a text without one belongs to the speaker
        before it.
    """
    if sounds:
        pieces = _without_sounds(pieces, source)
    if any(piece.speaker for piece in pieces):
        pieces = _split_known(pieces)
    else:
        pieces = _split_prefixes(pieces, carry)
    if sounds:
        pieces = _without_sounds(pieces, source)
    return [replace(piece, lines=(unescape(piece.text),)) for piece in pieces if piece.text]


def _without_sounds(pieces: list[Piece], source: Source) -> list[Piece]:
    result = []
    for piece in pieces:
        text = without_sounds(piece.text)
        if text == piece.text:
            result.append(piece)
        elif text:
            lines = tuple(line for line in map(without_sounds, piece.lines) if line)
            # a description that goes over two lines is whole only in the joined text
            whole = one_line(" ".join(lines)) == text
            result.append(replace(piece, lines=lines if whole else (text,)))
        else:
            source.leave_out("sounds or music, not words", piece.text)
    return result


def _voices(index: int, text: str) -> list[Piece]:
    """Split a cue at its voice tags."""
    parts = VOICE.split(text)
    pieces = [Piece(index, _lines(parts[0]))]
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        pieces.append(Piece(index, _lines(body), one_line(spoken(name))))
    return [piece for piece in pieces if piece.lines]


def _lines(text: str) -> tuple[str, ...]:
    lines = (one_line(line) for line in spoken(text).split("\n"))
    return tuple(line for line in lines if line)


def _dashes(piece: Piece) -> list[Piece]:
    """Split a cue whose lines begin with dashes or ">>": another speaker each."""
    lines = [part for line in piece.lines for part in _inner(line)]
    starts = [k for k, line in enumerate(lines) if _DASH.match(line)]
    if not starts or piece.speaker:
        return [piece]
    edges = [0, *(k for k in starts if k), len(lines)]
    parts = []
    for first, after in pairwise(edges):
        part = [_DASH.sub("", lines[first]), *lines[first + 1 : after]]
        if any(part):
            turn = len(edges) > 2 or ">>" in lines[first][:8]
            parts.append(replace(piece, lines=tuple(part), turn=turn))
    return parts


def _inner(line: str) -> list[str]:
    """Split "- Hello. - Hi." at its second dash."""
    if not _DASH.match(line):
        return [line]
    first, *others = _INNER_DASH.split(line)
    return [first, *(f"- {other}" for other in others)]


def _split_known(pieces: list[Piece]) -> list[Piece]:
    """Split names off the texts without a voice, in a file whose other texts have one."""
    names = {piece.speaker for piece in pieces}
    result = []
    for piece in pieces:
        prefix = None if piece.speaker else find_prefix(piece.text)
        if prefix and prefix.text and (prefix.strong or prefix.speaker in names):
            piece = replace(piece, lines=(prefix.text,), speaker=prefix.speaker)
        result.append(piece)
    return result


def _split_prefixes(pieces: list[Piece], carry: float) -> list[Piece]:
    """Split names off the beginnings of texts, and a text where a later line begins with a name."""
    texts = [piece.text for piece in pieces]
    prefixes = [find_prefix(text) for text in texts]
    accepted = accept_prefixes(prefixes)
    if not any(accepted):
        return pieces
    names = {p.speaker for p, ok in zip(prefixes, accepted, strict=True) if ok and p}
    carried = sum(accepted) >= carry * len(pieces)
    others = 2 * sum(accepted) >= len(pieces)  # whether names that never begin a text count
    speaker, result = "", []
    for piece in pieces:
        for part in _by_lines(piece, names, others):
            text = part.text
            prefix = find_prefix(text)
            if prefix and prefix.speaker in names:
                speaker, text = prefix.speaker, prefix.text
                if not text:
                    continue  # a name on a line of its own: the next text is this speaker's
            elif not carried or part.turn:
                speaker = ""
            result.append(replace(part, lines=(text,), speaker=speaker))
    return result


def _by_lines(piece: Piece, names: set[str], others: bool) -> list[Piece]:
    """Split a piece before each line that begins with a name; adds to the names."""
    parts: list[list[str]] = []
    for line in piece.lines:
        prefix = find_prefix(line)
        if prefix and parts and (prefix.strong or (others and is_capitalised(prefix.speaker))):
            names.add(prefix.speaker)
        if not parts or (prefix and prefix.speaker in names):
            parts.append([line])
        else:
            parts[-1].append(line)
    return [replace(piece, lines=tuple(lines)) for lines in parts]


def _timed(pieces: list[Piece], cues: list[Cue]) -> list[Utterance]:
    """Give pieces the times of their cues; several pieces of a cue share its time."""
    utterances: list[Utterance] = []
    totals: dict[int, int] = {}
    for piece in pieces:
        totals[piece.cue] = totals.get(piece.cue, 0) + len(piece.text)
    done: dict[int, int] = {}
    for piece in pieces:
        cue, total = cues[piece.cue], totals[piece.cue]
        before = done.get(piece.cue, 0)
        after = done[piece.cue] = before + len(piece.text)
        length = cue.end - cue.start
        start = cue.start + length * before / total
        end = cue.end if after == total else cue.start + length * after / total
        utterances.append(Utterance(start, end, piece.text, piece.speaker))
    return utterances
