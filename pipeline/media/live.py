"""A recording that is still being made: its latest part, in memory and as a file.

Memory holds the packets from the key frame before the latest cut on, and the sound since then.
Nothing else of the past is kept.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.media.containers import CONTAINERS, MediaError, frames_of, packets
from pipeline.media.feed import Feed
from pipeline.media.resampling import RATE

__all__ = ["Live"]

LEAD = 0.5  # s of sound that are kept before a cut
MAX_BYTES = 256 << 20  # of packets; with more, there is no key frame and the picture is dropped
MAX_GAP = 10.0  # s; a clock that jumps further than this has restarted


class Live:
    """Reads a feed packet by packet. Times are seconds from its start. Use it with `with`.

    errors: why the feed broke off, if it did.
    picture_lost: whether the picture since the last cut was dropped: it has too few key frames.

    Raises MediaError if the feed is no recording, cannot be read without its end, or has no sound.
    """

    def __init__(self, feed: Feed) -> None:
        import av

        self.feed = feed
        options = {"format_whitelist": CONTAINERS}
        try:
            self._container = av.open(feed.stream, options=options, metadata_errors="replace")
        except (av.error.FFmpegError, UnicodeError) as error:
            raise _unreadable(feed.name, error) from error
        best = self._container.streams.best
        audio, video = best("audio"), best("video")
        if audio is None or audio.codec_context is None:
            raise MediaError(
                f"{feed.name}: no sound, so there are no utterances", "check what is recorded"
            )
        self._audio, self._video = audio, video if video and video.codec_context else None
        if self._video is not None and self._is_cover(self._video):
            self._video = None
        streams = [stream for stream in (self._audio, self._video) if stream is not None]
        self.errors: list[str] = []
        self._demuxer = packets(self._container, streams, self.errors)
        self._resampler = av.AudioResampler("flt", "mono", RATE)
        self._zero: float | None = None  # timestamp of time 0
        self._kept: deque[tuple[float, Any]] = deque()  # time and packet
        self._bytes = 0
        self._parts: list[np.ndarray] = []
        self._start = 0  # sample at which they begin
        self._samples = 0  # of the feed so far
        self.ended = False
        self.picture_lost = False

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    @property
    def now(self) -> float:
        """Seconds of sound so far."""
        return self._samples / RATE

    def advance(self, seconds: float) -> None:
        """Read until there are so many more seconds of sound, or the feed ends."""
        until = self._samples + round(seconds * RATE)
        while self._samples < until and not self.ended:
            packet = next(self._demuxer, None)
            if packet is None:
                self.ended = True
                if not self._kept and self._zero is None:
                    raise _unreadable(self.feed.name, MediaError("nothing in it can be decoded"))
                return
            ticks = packet.pts if packet.pts is not None else packet.dts
            if not packet.size or ticks is None:
                continue
            self._kept.append((self._place(float(ticks * packet.time_base)), packet))
            self._bytes += packet.size
            if not self._is_picture(packet):
                self._hear(packet)
            if self._bytes > MAX_BYTES:
                self._drop_picture()

    def sound(self, start: float, end: float) -> np.ndarray:
        """Return the sound between two times, (n,) float32 at 16 kHz, as far as it is kept."""
        samples = np.concatenate(self._parts) if self._parts else np.zeros(0, np.float32)
        self._parts = [samples]
        first, last = (round(time * RATE) - self._start for time in (start, end))
        return samples[max(0, first) : max(0, last)]

    def cut(self, time: float) -> None:
        """Forget what is before a time."""
        self.picture_lost = False
        samples = self.sound(time - LEAD, self.now + 1)
        self._start = self._samples - len(samples)
        self._parts = [samples]
        earliest = time - LEAD
        keys = [
            at
            for at, packet in self._kept
            if self._is_picture(packet) and packet.is_keyframe and at <= earliest
        ]
        key = max(keys, default=-np.inf)
        self._keep(lambda at, packet: at >= (key if self._is_picture(packet) else earliest))

    def write(self, path: Path, end: float) -> float:
        """Write what is kept, up to a little after `end`, to a Matroska file.

        Returns the time of its start.
        """
        import av

        kept = [(at, packet) for at, packet in self._kept if at < end + LEAD]
        zero = min((at for at, _ in kept), default=0.0)
        with av.open(str(path), "w", format="matroska") as out:
            streams = {
                stream.index: out.add_stream_from_template(stream)
                for stream in (self._audio, self._video)
                if stream is not None and any(p.stream.index == stream.index for _, p in kept)
            }
            for at, packet in kept:
                copy, base = av.Packet(bytes(packet)), packet.time_base
                ticks = packet.pts if packet.pts is not None else packet.dts
                shift = ticks - round((at - zero) / base)
                copy.pts = None if packet.pts is None else packet.pts - shift
                copy.dts = None if packet.dts is None else packet.dts - shift
                copy.time_base, copy.duration = base, packet.duration
                copy.is_keyframe = packet.is_keyframe
                copy.stream = streams[packet.stream.index]
                out.mux(copy)
        return zero

    def _place(self, timestamp: float) -> float:
        """Return the time of a timestamp. If the clock has restarted, times go on."""
        if self._zero is None:
            start = self._container.start_time
            self._zero = timestamp if start is None else start / 1e6
        if abs(timestamp - self._zero - self.now) > MAX_GAP:
            self._zero = timestamp - self.now
        return timestamp - self._zero

    def _is_picture(self, packet: Any) -> bool:
        return packet.stream.index != self._audio.index

    def _is_cover(self, stream: Any) -> bool:
        return bool(stream.disposition & stream.disposition.__class__.attached_pic)

    def _keep(self, wanted: Any) -> None:
        self._kept = deque((at, packet) for at, packet in self._kept if wanted(at, packet))
        self._bytes = sum(packet.size for _, packet in self._kept)

    def _drop_picture(self) -> None:
        self.picture_lost = True
        self._keep(lambda _, packet: not self._is_picture(packet))

    def _hear(self, packet: Any) -> None:
        for frame in frames_of(packet, []):
            start = None if frame.time is None else frame.time - (self._zero or 0.0)
            frame.pts = None
            for part in self._resampler.resample(frame):
                gap = 0.0 if start is None else start - self.now
                if 0.05 < gap < MAX_GAP:
                    self._append(np.zeros(round(gap * RATE), np.float32))
                self._append(part.to_ndarray()[0])
                start = None

    def _append(self, samples: np.ndarray) -> None:
        self._parts.append(samples)
        self._samples += len(samples)


def _unreadable(name: str, error: Exception) -> MediaError:
    text = getattr(error, "strerror", None) or str(error)
    return MediaError(
        f"{name}: cannot be read while it grows ({text})",
        "record as Matroska, WebM, MPEG-TS, WAV or Ogg: the index of MP4 and MOV is written at the "
        "end",
    )
