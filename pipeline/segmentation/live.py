"""Find the utterances of a recording that is still being made, as they end."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.media.live import Live
from pipeline.segmentation.turns import PAUSE
from pipeline.segmentation.voice_activity import CLEAR, detect, quietest

__all__ = ["spoken_parts"]

STEP = 0.5  # s between two looks at the sound
SETTLED = 0.1  # s of silence beyond a pause that voice activity detection needs to be sure
LONG = 12.0  # s of speech from which on a gap between clear speech ends a part
LONGEST = 25.0  # s; longer speech without any gap is cut where it is quietest
QUIET = 5.0  # s at the end of the longest part in which the quietest moment is looked for


def spoken_parts(live: Live) -> Iterator[tuple[float, float]]:
    """Yield parts of the feed that hold whole utterances, as soon as they are over.

    Each part starts where the last one ended, or later. While a part is worked on, the feed waits.
    What lies before a part is forgotten. Parts last up to `LONGEST` seconds.
    """
    start = 0.0
    while not live.ended:
        live.advance(STEP)
        now = live.now
        regions = [(start + first, start + last) for first, last in detect(live.sound(start, now))]
        if not regions:
            if now - start > 2 * PAUSE:  # keep a little: speech may be starting
                start = now - PAUSE
                live.cut(start)
            continue
        end = now if live.ended else _end(live, regions, start, now)
        if end is not None:
            yield start, end
            start = end
            live.cut(start)


def _end(live: Live, regions: list[tuple[float, float]], start: float, now: float) -> float | None:
    """Return where the part that is over ends; None while somebody speaks."""
    last = regions[-1][1]
    if now - last >= PAUSE + SETTLED:
        return last + PAUSE / 2
    if now - regions[0][0] < LONG:
        return None
    clear = detect(live.sound(start, now), CLEAR, CLEAR - 0.15, 0.0)
    if len(clear) > 1:
        return start + (clear[-2][1] + clear[-1][0]) / 2
    if now - start < LONGEST:
        return None
    return quietest(live, now - QUIET, now)
