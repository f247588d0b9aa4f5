"""Windows of 30 s for Whisper: regions of speech with the silence between them shortened.

Each window costs one pass of the encoder however little it holds, so regions share windows. Words
are mapped back to the time of the recording.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline.core.dialogue import Word
from pipeline.media.decode import RATE, Media
from pipeline.segmentation.voice_activity import MAX_REGION, PADDING

__all__ = ["Region", "Window", "pack", "stretch"]

Region = tuple[float, float]  # start and end in seconds of the recording

_GAP = 0.5  # s; longest silence between two regions of one window
_LATE = 1.0  # s by which Whisper may place the first word of a region too late
_EARLY = 0.5  # s by which it may end the last word too early
_SHORTEST_WORD = 0.02  # s


def pack(regions: list[Region]) -> Iterator[list[Region]]:
    """Group regions, in order, into windows of at most `MAX_REGION` seconds.

    >>> list(pack([(0.0, 10.0), (12.0, 20.0), (30.0, 45.0)]))
    [[(0.0, 10.0), (12.0, 20.0)], [(30.0, 45.0)]]
    """
    window: list[Region] = []
    length = 0.0
    for start, end in regions:
        gap = min(_GAP, start - window[-1][1]) if window else 0.0
        added = end - start + gap
        if window and length + added > MAX_REGION:
            yield window
            window, length, added = [], 0.0, end - start
        window.append((start, end))
        length += added
    if window:
        yield window


@dataclass(frozen=True)
class Window:
    """The samples of one window. offsets: where each region begins in it, in seconds."""

    regions: list[Region]
    offsets: list[float]
    samples: np.ndarray

    @classmethod
    def read(cls, media: Media, regions: list[Region]) -> Window:
        """Read the sound of regions from a recording."""
        parts: list[np.ndarray] = []
        offsets: list[float] = []
        length = 0.0
        for index, (start, end) in enumerate(regions):
            if index:
                silence = min(start - regions[index - 1][1], _GAP)
                parts.append(np.zeros(round(silence * RATE), np.float32))
                length += len(parts[-1]) / RATE
            offsets.append(length)
            parts.append(media.sound(start, end))
            length += len(parts[-1]) / RATE
        return cls(regions, offsets, np.concatenate(parts))

    def place(self, word: Any, previous_end: float) -> Word | None:
        """Map a word of faster-whisper to the time of the recording; None if it has no letters.

        A word that begins inside a region stays there, however late Whisper ends it; any other word
        belongs to the region that holds its middle. Exception: Whisper places single short words
        too late. If a word begins in the silence before its region, and the region before that is
        short and has no word yet (`previous_end`), the word belongs there.
        """
        text = word.word
        if not any(character.isalnum() for character in text):
            return None
        probability = float(word.probability)
        middle = (word.start + word.end) / 2
        begun = (k for k, offset in enumerate(self.offsets) if offset <= middle + _GAP / 2)
        index = self._speech_at(word.start)
        if index is None:
            index = max(begun, default=0)
        offset = self.offsets[index]
        if index and word.start < offset - 0.1:
            start, end = self.regions[index - 1]
            if previous_end <= start and end - start < 1:
                return Word(start, end, text, probability)
        first, last = self.regions[index]
        start = min(max(first, first + word.start - offset), last - _SHORTEST_WORD)
        end = max(min(last, first + word.end - offset), start + _SHORTEST_WORD)
        return Word(float(start), float(end), text, probability)

    def _speech_at(self, time: float) -> int | None:
        """Return the region with speech at a time of the window; None in silence."""
        for index, ((start, end), offset) in enumerate(
            zip(self.regions, self.offsets, strict=True)
        ):
            if offset <= time < offset + end - start - PADDING:
                return index
        return None


def stretch(words: list[Word], regions: list[Region]) -> list[Word]:
    """Let the first word of each region begin, and the last word end, with the voice.

    Whisper's times are up to a second late at the start of speech.
    """
    words = list(words)
    for start, end in regions:
        inside = [k for k, word in enumerate(words) if start <= word.start < end]
        if not inside:
            continue
        first, last = inside[0], inside[-1]
        words[first] = replace(words[first], start=max(start, words[first].start - _LATE))
        stretched = min(end, words[last].end + _EARLY)
        words[last] = replace(words[last], end=max(words[last].end, stretched))
    return words
