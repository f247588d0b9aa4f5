"""Which audio streams and channels of a recording become its sound."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pipeline.media.levels import Levels

__all__ = ["AudioStream", "Choice", "choose", "mean_weights", "weights_of"]

SILENT = 1e-6  # power, -60 dB: noise of an input that nothing is connected to
QUIET = 1e-4  # power relative to the loudest stream or channel, -40 dB: only crosstalk
CANCELLED = 0.2  # share of the loud bins in which channels cancel, from which their mean is useless
OPPOSITE = -0.3  # correlation below which a channel is inverted


@dataclass(frozen=True)
class AudioStream:
    """An audio stream that can be decoded. language: "" if unknown."""

    index: int
    channels: int
    language: str = ""


@dataclass(frozen=True)
class Choice:
    """The streams to use, and how they become one channel.

    weights: index of a stream -> weights of its channels, if not their mean. mix: in words.
    warnings: why it is not simply the mean of the first stream.
    """

    streams: tuple[int, ...]
    mix: str
    weights: dict[int, tuple[float, ...]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def choose(streams: list[AudioStream], levels: dict[int, Levels]) -> Choice:
    """Choose streams and channels by their levels. streams: the preferred one first.

    - Several mono streams, as cameras write one for each microphone, are mixed; silent ones are
      left out. Streams in several languages are not mixed.
    - Otherwise, the first stream is used, or the loudest other one if it is silent.
    - Channels are averaged. An inverted channel, which would cancel the others, is turned over.
    """
    loud = {index: float(levels[index].loudest().max(initial=0)) for index in levels}
    heard = [s for s in streams if loud[s.index] > max(SILENT, QUIET * max(loud.values()))]
    first, count = streams[0], len(streams)
    warnings = []
    languages = {stream.language for stream in streams}
    if count > 1 and len(languages) == 1 and all(stream.channels == 1 for stream in streams):
        used = heard or [first]
        indices = tuple(sorted(stream.index for stream in used))
        names = _listed(indices)
        if len(used) > 1:
            warnings.append(f"{count} mono audio streams; using the mean of streams {names}")
            return Choice(indices, f"mean of {len(used)} streams", warnings=warnings)
        if heard:
            warnings.append(f"{count} audio streams; only stream {names} has sound, using it")
            return Choice(indices, "mono", warnings=warnings)
    if heard and first not in heard:
        best = max(heard, key=lambda stream: loud[stream.index])
        warnings.append(
            f"{count} audio streams; stream {first.index} is silent, using stream {best.index}"
        )
        first = best
    elif count > 1:
        warnings.append(f"{count} audio streams; using stream {first.index}")
    weights, mix, warning = _channels(levels[first.index], first.channels)
    if warning:
        warnings.append(warning)
    return Choice((first.index,), mix, {first.index: weights} if weights else {}, warnings)


def weights_of(covariance: np.ndarray) -> tuple[float, ...]:
    """Return the weights of channels that cancel in their mean.

    covariance: (c, c). Channels that are opposite to a loud one are turned over; if the rest
    still cancels, that one is used alone.

    >>> weights_of(np.array([[1.0, -0.9], [-0.9, 1.0]]))
    (0.5, -0.5)
    """
    power = np.diag(covariance)
    count, reference = len(power), int((power >= 0.5 * power.max()).argmax())
    scale = np.sqrt(np.maximum(power * power[reference], 1e-30))
    signs = np.where(covariance[reference] / scale < OPPOSITE, -1.0, 1.0)
    signs *= signs[0]  # the first channel keeps its sign
    if (signs > 0).all() or signs @ covariance @ signs < 0.8 * power.sum():
        return tuple(float(k == reference) for k in range(count))
    return tuple((signs / count).tolist())


def mean_weights(covariance: np.ndarray) -> tuple[float, ...]:
    """Return the weights with which streams are averaged; those that cancel are turned over.

    covariance: (s, s).

    >>> mean_weights(np.array([[1.0, 0.0], [0.0, 1.0]]))
    (0.5, 0.5)
    """
    if covariance.sum() < 0.25 * np.trace(covariance):
        return weights_of(covariance)
    return tuple(1 / len(covariance) for _ in covariance)


def _channels(levels: Levels, expected: int) -> tuple[tuple[float, ...] | None, str, str | None]:
    """Return the weights of the channels of one stream, the mix in words, and a warning."""
    count = levels.channels or expected
    if count < 2:
        return None, "mono", None
    if levels.cancelled() > CANCELLED:
        weights = weights_of(levels.covariance)
        turned = [k + 1 for k, weight in enumerate(weights) if weight < 0]
        if turned:
            mix = f"mean of {count} channels, {_channel(turned)} inverted"
            return weights, mix, f"audio channels cancel each other; using the {mix}"
        mix = f"channel {weights.index(max(weights)) + 1} of {count}"
        return weights, mix, f"audio channels cancel each other; using {mix}"
    loudest = levels.loudest()
    if not len(loudest):  # nothing could be decoded
        return None, f"mean of {count} channels", None
    heard = loudest > np.maximum(SILENT, QUIET * loudest.max())
    if count > 2 and 0 < heard.sum() <= count / 2:
        used = np.flatnonzero(heard) + 1
        mix = f"{'mean of ' * (len(used) > 1)}{_channel(used.tolist())} of {count}"
        return tuple((heard / heard.sum()).tolist()), mix, f"silent audio channels; using {mix}"
    return None, f"mean of {count} channels", None


def _channel(numbers: list[int]) -> str:
    return f"channel{'s' * (len(numbers) > 1)} {_listed(tuple(numbers))}"


def _listed(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers))
