"""Find who speaks by channel, in calls and interviews that record each speaker on their own."""

from __future__ import annotations

import numpy as np

from pipeline.core.dialogue import Utterance
from pipeline.media.decode import Media

__all__ = ["CHANNEL_METHOD", "by_channel", "channel_changes", "separate_channels"]

CHANNEL_METHOD = {"method": "channels", "version": 1}  # part of fingerprints
CLEAR = 4.0  # power of the loudest channel over that of the next (6 dB) that tells who speaks
CLEAR_SHARE = 0.8  # of the time of speech that must be clear
MIN_SHARE = 0.05  # of the time of speech that each of two channels must have
SIDE = 0.5  # s on each side of a gap in which channels are compared


def separate_channels(media: Media, regions: list[tuple[float, float]]) -> bool:
    """Whether each speaker of a recording has a channel of their own.

    regions: (start, end) of speech in seconds.

    This is so if nearly all speech is clearly louder in one channel, and not always in the same.
    Films and music are not: their speech is in the middle.
    """
    seconds: dict[int, float] = {}
    total = clear = 0.0
    for start, end in regions:
        channel, ratio = _loudest(media, start, end)
        if channel < 0:
            return False
        total += end - start
        if ratio >= CLEAR:
            clear += end - start
            seconds[channel] = seconds.get(channel, 0.0) + end - start
    several = sorted(seconds.values())[-2:-1]
    return bool(several) and clear >= CLEAR_SHARE * total and several[0] >= MIN_SHARE * total


def by_channel(media: Media, utterances: list[Utterance]) -> list[int]:
    """Return the number of the loudest channel of each utterance."""
    return [_loudest(media, utterance.start, utterance.end)[0] for utterance in utterances]


def channel_changes(media: Media, gap: float) -> bool:
    """Whether speech moves to another channel at `gap` (seconds)."""
    before, after = _loudest(media, gap - SIDE, gap), _loudest(media, gap, gap + SIDE)
    return before[0] != after[0] and min(before[1], after[1]) >= CLEAR


def _loudest(media: Media, start: float, end: float) -> tuple[int, float]:
    """Return the loudest channel and its power over that of the next; -1 with fewer than two."""
    power = media.channel_power(start, end)
    if len(power) < 2:
        return -1, 1.0
    order = np.argsort(-power, kind="stable")
    return int(order[0]), float(power[order[0]] / max(power[order[1]], 1e-12))
