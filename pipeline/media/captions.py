"""Draw captions onto pictures: the box of the speaker's face, and who says what and how."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np
from PIL import Image, ImageDraw

from pipeline.media.fonts import find_font

__all__ = ["Caption", "Painter", "box_at"]

TEXT_SHARE = 0.05  # height of the text over that of a picture 4:3 or wider
SMALLEST = 12  # pixels of text
LINES = 2  # of one utterance at once; a longer one is shown page by page
SHOWN = 2  # utterances at once, the latest
LONGEST_GAP = 1.0  # s between two boxes that belong together
REACH = 0.3  # s for which the first and the last box hold before and after
SHADE = 0.65  # opacity of the band behind the text
WHITE, BLACK = (255, 255, 255), (0, 0, 0)

Colour = tuple[int, int, int]
Box = tuple[float, float, float, float, float]  # s; left, top, width, height as shares


@dataclass(frozen=True)
class Caption:
    """What is drawn from `start` up to `end` seconds.

    name: of the speaker. label: the emotion. colour, ink: of the label and of the text on it.
    boxes: where the speaker's face is, in order of time; with `doubtful`, they have a "?".
    """

    start: float
    end: float
    name: str
    label: str
    text: str
    colour: Colour = WHITE
    ink: Colour = BLACK
    boxes: Sequence[Box] = ()
    doubtful: bool = False


def box_at(boxes: Sequence[Box], time: float) -> tuple[float, ...] | None:
    """Return left, top, width and height at a time: between two boxes, the one between them.

    None in gaps. A box that jumps, as at a cut, is not moved through the picture.

    >>> box_at([(0.0, 0.1, 0.1, 0.2, 0.2), (0.5, 0.2, 0.1, 0.2, 0.2)], 0.25)
    (0.15000000000000002, 0.1, 0.2, 0.2)
    """
    index = bisect_right([box[0] for box in boxes], time)
    before = boxes[index - 1] if index else None
    after = boxes[index] if index < len(boxes) else None
    if before and after and after[0] - before[0] <= LONGEST_GAP:
        share = (time - before[0]) / (after[0] - before[0])
        moved = math.hypot(after[1] - before[1], after[2] - before[2])
        if moved > 0.5 * max(before[3], before[4]):
            share = round(share)
        return tuple(a + share * (b - a) for a, b in zip(before[1:], after[1:], strict=True))
    near = [box for box in (before, after) if box and abs(box[0] - time) <= REACH]
    return tuple(min(near, key=lambda box: abs(box[0] - time))[1:]) if near else None


@dataclass
class Painter:
    """Draws captions onto pictures of one size; times must not go back.

    captions: in order of time. width, height: of the pictures, in pixels.
    """

    captions: Sequence[Caption]
    width: int
    height: int
    _next: int = 0
    _current: list[Caption] = field(default_factory=list)
    _bands: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)

    @cached_property
    def size(self) -> int:
        """Height of the text in pixels."""
        return max(SMALLEST, round(TEXT_SHARE * min(self.height, 0.75 * self.width)))

    def paint(self, image: np.ndarray, time: float) -> None:
        """Draw what holds at a time onto a picture, (height, width, 3) uint8 RGB, in place."""
        while self._next < len(self.captions) and self.captions[self._next].start <= time:
            self._current.append(self.captions[self._next])
            self._next += 1
        self._current = [caption for caption in self._current if caption.end > time]
        shown = self._current[-SHOWN:]
        for caption in shown:
            box = box_at(caption.boxes, time)
            if box:
                self._draw_box(image, box, caption)
        bottom = self.height
        for caption in reversed(shown):
            band = self._band(caption, time)
            top = max(0, bottom - len(band))
            _blend(image[top:bottom], band[-(bottom - top) :])
            bottom = top

    def _draw_box(self, image: np.ndarray, box: Sequence[float], caption: Caption) -> None:
        left, top, width, height = box
        first = (round(left * self.width), round(top * self.height))
        last = (round((left + width) * self.width), round((top + height) * self.height))
        thick = max(2, round(self.size / 8))
        cv2.rectangle(image, first, last, BLACK, 2 * thick)
        cv2.rectangle(image, first, last, caption.colour, thick)
        if caption.doubtful:
            place = (first[0] + 2 * thick, first[1] + self.size + thick)
            for colour, width in ((BLACK, 2 * thick), (caption.colour, thick)):
                cv2.putText(
                    image, "?", place, cv2.FONT_HERSHEY_SIMPLEX, self.size / 25, colour, width
                )

    def _band(self, caption: Caption, time: float) -> np.ndarray:
        """Return the band of a caption, (h, width, 4) uint8, as it is at a time."""
        pages = self._pages(caption)
        done = (time - caption.start) / max(caption.end - caption.start, 1e-6)
        total = max(1, sum(map(len, pages)))
        page = 0
        while page + 1 < len(pages) and done * total >= sum(map(len, pages[: page + 1])):
            page += 1
        key = (id(caption), page)
        if key not in self._bands:
            self._bands = {
                k: band for k, band in self._bands.items() if k[0] in set(map(id, self._current))
            }
            self._bands[key] = self._draw_band(caption, pages[page])
        return self._bands[key]

    def _pages(self, caption: Caption) -> list[str]:
        """Break the text of a caption into lines and these into pages."""
        font = find_font(caption.text, self.size)
        room = self.width - 2 * self.size
        lines: list[str] = [""]
        for word in caption.text.split():
            # a word that is longer than a line, or a text without spaces, breaks anywhere
            for piece in [word] if font.getlength(word) <= room else word:
                joint = "" if piece != word or not lines[-1] else " "
                if lines[-1] and font.getlength(lines[-1] + joint + piece) > room:
                    lines.append(piece)
                else:
                    lines[-1] += joint + piece
        return ["\n".join(lines[k : k + LINES]) for k in range(0, len(lines), LINES)]

    def _draw_band(self, caption: Caption, page: str) -> np.ndarray:
        size, pad = self.size, round(self.size / 3)
        lines = page.split("\n") if page else []
        step = round(1.3 * size)
        high = min(self.height, step * (1 + len(lines)) + 2 * pad)
        band = Image.new("RGBA", (self.width, high), (0, 0, 0, round(255 * SHADE)))
        draw = ImageDraw.Draw(band)
        name = self._shorten(caption.name)
        x = size
        if name:
            font = find_font(name, size)
            draw.text((x, pad), name, font=font, fill=WHITE)
            x += round(font.getlength(name)) + size // 2
        label = self._shorten(caption.label)
        font = find_font(label, size)
        right = x + round(font.getlength(label)) + size // 2
        draw.rounded_rectangle((x, pad, right, pad + step - 1), size // 5, fill=caption.colour)
        draw.text((x + size // 4, pad), label, font=font, fill=caption.ink)
        for number, line in enumerate(lines, 1):
            draw.text((size, pad + number * step), line, font=find_font(line, size), fill=WHITE)
        return np.array(band)

    def _shorten(self, text: str) -> str:
        """Cut a text that takes more than 40 % of the width."""
        font, room = find_font(text, self.size), 0.4 * self.width
        if font.getlength(text) <= room:
            return text
        while text and font.getlength(text + "…") > room:
            text = text[:-1]
        return text + "…"


def _blend(image: np.ndarray, band: np.ndarray) -> None:
    """Lay a band with an alpha channel over a picture of its size, in place."""
    alpha = band[..., 3:].astype(np.uint16)
    over = band[..., :3] * alpha + image * (255 - alpha)
    image[:] = ((over + 127) // 255).astype(np.uint8)
