"""CSV with columns for start, end, speaker and text; MELD's and merc's own."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

from pipeline.core.dialogue import Utterance
from pipeline.segmentation.transcripts.columns import is_own, read_table
from pipeline.segmentation.transcripts.source import Source, TranscriptError
from pipeline.segmentation.transcripts.speech import Piece, split_speakers

__all__ = ["read_csv"]


def read_csv(source: Source) -> list[Utterance]:
    """Read a table whose columns are separated by commas, semicolons or tabs.

    Names are split off the texts ("Anna: Hello") if there is no column for the speaker.
    """
    names, rows = _rows(source)
    utterances = read_table(names, rows, source)
    if is_own(names) or any(utterance.speaker for utterance in utterances):
        return utterances
    pieces = [Piece(k, (u.text,)) for k, u in enumerate(utterances)]
    pieces = split_speakers(pieces, source, carry=0.5, sounds=False)
    return [
        replace(utterances[piece.cue], text=piece.text, speaker=piece.speaker) for piece in pieces
    ]


def _rows(source: Source) -> tuple[list[str], list[dict[str, str]]]:
    lines = [line for line in source.text.split("\n") if line.strip()] or [""]
    separator = max(",;\t", key=lines[0].count)
    if separator in lines[0]:
        try:
            header, *rows = filter(None, csv.reader(io.StringIO(source.text), delimiter=separator))
        except csv.Error as error:
            raise TranscriptError(
                f"{source.path}: not a readable CSV file: a cell has more than 131,072 characters, "
                "probably because a quotation mark is not closed",
                "open it in a spreadsheet program and save it as CSV",
            ) from error
    else:
        # a single column: commas belong to the text, and quotes enclose it
        header, *rows = [
            next(csv.reader([line]), [""])[:1] if line.startswith('"') else [line] for line in lines
        ]
    names = _unique([name.strip() for name in header])
    # surplus separators belong to the last column, usually the text
    last = len(names) - 1
    rows = [[*row[:last], separator.join(row[last:])] for row in rows]
    return names, [dict(zip(names, row, strict=False)) for row in rows]


def _unique(names: list[str]) -> list[str]:
    """Make names differ, so that a column without or with a repeated name hides no other."""
    result: dict[str, None] = {}
    repeats: dict[str, int] = {}
    for name in names:
        unique = name
        while unique in result:
            repeats[name] = repeats.get(name, 1) + 1
            unique = f"{name} ({repeats[name]})"
        result[unique] = None
    return list(result)
