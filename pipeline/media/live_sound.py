"""The latest sound of a feed: all of its audio streams, mixed as those of a complete recording."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.media.levels import Levels
from pipeline.media.mixing import AudioStream, Choice, choose, mean_weights
from pipeline.media.resampling import RATE
from pipeline.media.sound import JITTER, RATES, channels, mix

__all__ = ["LiveSound", "LiveTrack"]

MEMORY = 300.0  # s of sound that at least decide how it is mixed, at most twice as many
_PIECE = RATE  # samples that are kept as one array


class RecentLevels:
    """The levels of the latest sound: of the last `MEMORY` seconds at least, if there are as many.

    The older of two measurements is used; when the younger is old enough, it takes over.
    """

    def __init__(self) -> None:
        self._two = deque([(Levels(), 0.0)], maxlen=2)  # and the seconds in each

    @property
    def levels(self) -> Levels:
        return self._two[0][0]

    def add(self, samples: np.ndarray) -> None:
        """Add (channels, n) samples at 16 kHz."""
        for k, (levels, seconds) in enumerate(self._two):
            if levels.channels not in (0, len(samples)):  # Levels measures one number only
                levels, seconds = Levels(), 0.0
            levels.add(samples, seconds, RATE)
            self._two[k] = (levels, seconds + samples.shape[1] / RATE)
        if self._two[-1][1] >= MEMORY:
            self._two.append((Levels(), 0.0))


class LiveTrack:
    """The latest sound of one audio stream, placed by its times. What lies between is silence.

    end: the sample at which it ends. lost: samples that came after their time was forgotten.
    """

    def __init__(self) -> None:
        self.end = 0
        self.lost = 0
        self.recent = RecentLevels()
        self._pieces: deque[tuple[int, np.ndarray]] = deque()  # first sample, (channels, n)
        self._start = 0  # sample before which nothing is kept
        self._resampler: Any = None
        self._form: tuple[Any, ...] = ()
        self._time: float | None = None  # at which the sound in the resampler ends

    def add(self, frame: Any, time: float | None) -> None:
        """Append a decoded frame. time: seconds at which it starts; None if unknown."""
        import av

        if not RATES[0] <= frame.sample_rate <= RATES[1]:  # a damaged header
            return
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        first = self._time is None
        gap = 0.0 if time is None else time - (self._time or 0.0)
        if first or gap > JITTER or form != self._form:
            self.finish()
            self._resampler, self._form = av.AudioResampler("fltp", frame.layout, RATE), form
            if time is not None and (first or gap > JITTER):
                self._time = time
                self.end = round(time * RATE) if first else max(self.end, round(time * RATE))
        self._time = (self._time or 0.0) + frame.samples / frame.sample_rate
        frame.pts = None
        for part in self._resampler.resample(frame):
            self._append(channels(part))

    def finish(self) -> None:
        """Append what the resampler still holds."""
        if self._resampler is not None:
            for part in self._resampler.resample(None):
                self._append(channels(part))
        self._resampler = None

    def forget(self, sample: int) -> None:
        """Forget what is before a sample."""
        self._start = max(self._start, sample)
        while self._pieces and self._pieces[0][0] + self._pieces[0][1].shape[1] <= self._start:
            self._pieces.popleft()

    def read(self, first: int, last: int, weights: tuple[float, ...] | None) -> np.ndarray:
        """Return the samples [first, last) of the mixed channels, (n,) float32."""
        result = np.zeros(max(0, last - first), np.float32)
        for start, piece in self._pieces:
            begin, end = max(first, start), min(last, start + piece.shape[1])
            if begin < end:
                part = piece[:, begin - start : end - start]
                result[begin - first : end - first] = mix(part, weights)
        return result

    def _append(self, samples: np.ndarray) -> None:
        start = self.end
        self.end += samples.shape[1]
        self.recent.add(samples)
        if start < self._start:
            self.lost += min(self.end, self._start) - start
            samples, start = samples[:, self._start - start :], self._start
        if not samples.shape[1]:
            return
        if self._pieces:
            before, piece = self._pieces[-1]
            joined = before + piece.shape[1] == start and len(piece) == len(samples)
            if joined and piece.shape[1] < _PIECE:
                self._pieces[-1] = (before, np.concatenate([piece, samples], axis=1))
                return
        self._pieces.append((start, samples))


class LiveSound:
    """The latest sound of a feed. streams: those that can be decoded, the preferred one first."""

    def __init__(self, streams: Sequence[AudioStream]) -> None:
        self._streams = streams
        self.tracks = {stream.index: LiveTrack() for stream in streams}
        self.start = 0  # sample before which nothing is kept

    @property
    def ends(self) -> list[float]:
        """Seconds at which the tracks end that have begun, in order."""
        return sorted(track.end / RATE for track in self.tracks.values() if track.end)

    @property
    def lost(self) -> float:
        """Seconds of sound that came too late."""
        return sum(track.lost for track in self.tracks.values()) / RATE

    def choice(self) -> Choice:
        """Choose streams and channels, by their levels so far."""
        levels = {index: track.recent.levels for index, track in self.tracks.items()}
        streams = [
            replace(stream, channels=levels[stream.index].channels or stream.channels)
            for stream in self._streams
        ]
        return choose(streams, levels)

    def read(self, first: int, last: int) -> np.ndarray:
        """Return the mixed samples [first, last) that are kept, (n,) float32."""
        first = max(first, self.start, 0)
        choice = self.choice()
        tracks = [(self.tracks[index], choice.weights.get(index)) for index in choice.streams]
        sounds = np.stack([track.read(first, last, weights) for track, weights in tracks])
        if len(sounds) == 1:
            return sounds[0]
        centred = sounds - sounds.mean(1, keepdims=True) if sounds.size else sounds
        return mix(sounds, mean_weights(centred.astype(np.float64) @ centred.T))

    def forget(self, sample: int) -> None:
        """Forget what is before a sample."""
        self.start = max(self.start, sample)
        for track in self.tracks.values():
            track.forget(sample)

    def finish(self) -> None:
        """Take what is still in the resamplers: nothing follows."""
        for track in self.tracks.values():
            track.finish()
