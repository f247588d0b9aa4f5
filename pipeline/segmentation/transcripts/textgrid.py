"""Praat TextGrid, in the long, the short and the binary format.

pympi is not used here: it reads 1e-05 as 5, loses the sign of a time, and takes quadratic time for
a text of many lines. The tests compare ordinary files with what pympi reads.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator

from pipeline.core.dialogue import Utterance
from pipeline.exports.rows import speaker_of_tier
from pipeline.segmentation.transcripts.markup import one_line
from pipeline.segmentation.transcripts.source import Source, TranscriptError
from pipeline.segmentation.transcripts.tiers import Interval, Tier, utterances_of_tiers

__all__ = ["read_textgrid", "read_tiers"]

# what counts in both text formats: strings, flags and free-standing numbers
_NUMBER = r"[+-]?(?:\d[\d.]*|\.\d+)(?:[eE][+-]?\d+)?"
_TOKEN = re.compile(rf'"((?:[^"]|"")*)"|<(\w+)>|(?<!\S)({_NUMBER})(?!\S)')
_EMOTION = "emotion@"


def read_textgrid(source: Source) -> list[Utterance]:
    """Read the utterances of the interval tiers; the speaker is the name of the tier."""
    try:
        tiers = read_tiers(source)
    except (StopIteration, ValueError, struct.error, IndexError, TypeError, RuntimeError) as error:
        raise TranscriptError(
            f"{source.path}: not a readable TextGrid: it is cut short or has another layout",
            "save it from Praat as text",
        ) from error
    own = _own(tiers)
    if own:
        source.ignore_emotions("tiers of emotions")
    return own or utterances_of_tiers(tiers, source)


def read_tiers(source: Source) -> list[Tier]:
    """Read the interval tiers of a text or binary file, of words and of emotions."""
    if source.data.startswith(b"ooBinaryFile"):
        return list(_binary_tiers(source.data))
    return list(_text_tiers(source.text))


def _own(tiers: list[Tier]) -> list[Utterance]:
    """Read what merc writes: pairs of tiers, "NAME" and "emotion@NAME"."""
    texts, emotions = tiers[::2], tiers[1::2]
    if not tiers or len(texts) != len(emotions):
        return []
    utterances = []
    for text, emotion in zip(texts, emotions, strict=True):
        if emotion.name.rstrip("'") != (_EMOTION + text.name).rstrip("'"):
            return []
        words = {(i.start, i.end): i.text for i in text.intervals if i.text}
        # an utterance without words has an emotion only; one added in Praat may have words only
        spans = dict.fromkeys((i.start, i.end) for i in emotion.intervals if i.text)
        # edges moved in one tier alone: the tier of the words decides
        if not set(words) <= set(spans):
            spans = dict.fromkeys(words)
        speaker = speaker_of_tier(text.name)
        for start, end in spans | dict.fromkeys(words):
            utterances.append(Utterance(start, end, one_line(words.get((start, end), "")), speaker))
    return sorted(utterances, key=lambda u: (u.start, u.end))


def _text_tiers(text: str) -> Iterator[Tier]:
    """Read the long and the short format: both are the same values in the same order."""
    values = _values(text)

    def number() -> float:
        value = next(values)
        if not isinstance(value, float) or not math.isfinite(value):
            raise ValueError(value)
        return value

    def string() -> str:
        value = next(values)
        if not isinstance(value, str):
            raise ValueError(value)
        return value

    if string() != "ooTextFile" or string() != "TextGrid":
        raise ValueError("header")
    number(), number()
    if next(values) is not True:  # <exists>
        return
    for _ in range(int(number())):
        kind, name = string(), string()
        number(), number()
        tier = Tier(one_line(name))
        for _ in range(int(number())):
            start = number()
            if kind == "IntervalTier":
                tier.intervals.append(Interval(start, number(), one_line(string())))
            else:
                tier.points.append(one_line(string()))
        yield tier


def _values(text: str) -> Iterator[str | float | bool]:
    for match in _TOKEN.finditer(text):
        string, flag, number = match.groups()
        if string is not None:
            yield string.replace('""', '"')
        elif flag is not None:
            yield flag == "exists"
        else:
            yield float(number)


def _binary_tiers(data: bytes) -> Iterator[Tier]:
    """Read the binary format: big-endian, texts with their length before them."""
    position = 12

    def take(format: str) -> float:
        nonlocal position
        value = struct.unpack_from(format, data, position)[0]
        position += struct.calcsize(format)
        return value

    def string(length: str = ">h") -> str:
        nonlocal position
        size, encoding = int(take(length)), "latin-1"
        if size == -1:  # two bytes for each character
            size, encoding = 2 * int(take(">h")), "utf-16-be"
        if size < 0 or position + size > len(data):
            raise ValueError("length of a text")
        value = data[position : position + size].decode(encoding, "replace")
        position += size
        return value

    string(">B")
    take(">d"), take(">d"), take(">B")
    for _ in range(int(take(">i"))):
        kind, name = string(">B"), string()
        take(">d"), take(">d")
        tier = Tier(one_line(name))
        for _ in range(int(take(">i"))):
            start = take(">d")
            if kind == "IntervalTier":
                tier.intervals.append(Interval(start, take(">d"), one_line(string())))
            else:
                tier.points.append(one_line(string()))
        yield tier
