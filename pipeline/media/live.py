"""A recording that is still being made: its latest part, in memory and as a file.

Memory holds the packets of the picture from the key frame before the latest cut on, and the sound
since then. Nothing else of the past is kept.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.forks import check_fork
from pipeline.media.breaks import APART, LATER
from pipeline.media.clock import jump_ahead, repair
from pipeline.media.containers import (
    CONTAINERS,
    MediaError,
    best_first,
    frames_of,
    is_cover,
    packets,
)
from pipeline.media.feed import Feed
from pipeline.media.live_sound import LiveSound
from pipeline.media.mixing import AudioStream
from pipeline.media.resampling import RATE
from pipeline.media.running_clock import RunningClock

__all__ = ["Live"]

LEAD = 0.5  # s of sound that are kept before a cut
MAX_BYTES = 256 << 20  # of packets; with more, there is no key frame and the picture is dropped
# s that sound may come after picture or other sound of the same time. After that it counts as
# silence, so that a microphone that is switched off holds up nothing.
LATE = 10.0
FORMATS = ("matroska", "nut")  # of parts: the second one takes old codecs of AVI, ASF and FLV


class Live:
    """Reads a feed packet by packet. Times are seconds from its start. Use it with `with`.

    now: seconds up to which the sound is known. ended: whether that is all of the feed.
    errors: why the feed broke off, if it did. warnings: what else should be known about it.
    picture_lost: whether the picture since the last cut was dropped: it has too few key frames.

    Raises MediaError if the feed is no recording, cannot be read without its end, or has no sound.
    """

    def __init__(self, feed: Feed) -> None:
        import av

        self.feed = feed
        self.errors: list[str] = []
        options = {"format_whitelist": CONTAINERS}
        try:
            self._container = av.open(feed.stream, options=options, metadata_errors="replace")
        except (av.error.FFmpegError, UnicodeError) as error:
            feed.check()
            raise _unreadable(feed, error) from error
        feed.check()
        streams = self._container.streams
        audio = [s for s in best_first(self._container, "audio", streams.audio) if s.codec_context]
        if not audio:
            raise MediaError(
                f"{feed.name}: no sound, so there are no utterances", "check what is recorded"
            )
        video = streams.best("video")
        usable = video is not None and video.codec_context and not is_cover(video)
        self._video = video if usable else None
        self._sound = LiveSound(
            [
                AudioStream(s.index, s.codec_context.channels, s.metadata.get("language", ""))
                for s in audio
            ]
        )
        self._format = "" if self._video is None else _format_for(self._video)
        chosen = [*audio, *([] if self._video is None else [self._video])]
        self._demuxer = packets(self._container, chosen, self.errors)
        self._clock = RunningClock(jump_ahead(self._container))
        self._zero: float | None = None  # timestamp of time 0
        self._kept: deque[tuple[float, Any]] = deque()  # time and packet of the picture
        self._bytes = 0
        # the latest times of the picture; several, because one timestamp may be damaged
        self._shown: deque[float] = deque(maxlen=LATER)
        self._damaged = self._finished = False
        self.now = 0.0
        self.ended = False
        self.picture_lost = False

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    @property
    def warnings(self) -> list[str]:
        texts = list(self._sound.choice().warnings)
        if self._clock.breaks:
            texts.append("its clock restarts or jumps; times continue without the jump")
        if self._sound.lost > 0.05:
            texts.append(f"sound that came more than {LATE:.0f} s after the picture is left out")
        if self._damaged:
            texts.append("parts of its picture are damaged and left out")
        if self._video is not None and not self._format:
            name = self._video.codec_context.name
            texts.append(
                f"its picture cannot be followed (codec {name!r}), so there are no faces; record "
                "H.264, or label the recording when it is complete"
            )
        return texts

    def advance(self, seconds: float) -> None:
        """Read until there are so many more seconds of sound, or the feed ends."""
        check_fork()
        until = self.now + seconds
        while not self._finished and self._known() < until:
            packet = next(self._demuxer, None)
            self.feed.check()
            if packet is not None:
                self._take(packet)
                continue
            if self._zero is None:
                raise _unreadable(self.feed, MediaError("nothing in it can be decoded"))
            self._sound.finish()
            self._finished = True
        known = self._known()
        self.now = max(self.now, min(until, known))
        self.ended = self._finished and self.now >= known

    def sound(self, start: float, end: float) -> np.ndarray:
        """Return the sound between two times, (n,) float32 at 16 kHz, as far as it is kept."""
        return self._sound.read(round(start * RATE), round(min(end, self.now) * RATE))

    def cut(self, time: float) -> None:
        """Forget what is before a time."""
        self.picture_lost = False
        earliest = time - LEAD
        self._sound.forget(round(earliest * RATE))
        keys = [at for at, packet in self._kept if packet.is_keyframe and at <= earliest]
        key = max(keys, default=-np.inf)
        before = max((at for at, _ in self._kept if at <= earliest), default=-np.inf)
        if before < earliest - LATE:  # the picture paused, and is out of date
            key = earliest
        self._keep(deque((at, packet) for at, packet in self._kept if at >= key))

    def write(self, path: Path, end: float) -> float:
        """Write what is kept, up to a little after `end`, to a file: the picture, the mixed sound.

        Returns the time of its start.
        """
        import av

        kept = [(at, packet) for at, packet in self._kept if at < end + LEAD and self._format]
        start = max(0, self._sound.start) / RATE
        sound = self.sound(start, end + LEAD)
        zero = min([start, *(at for at, _ in kept)])
        with av.open(str(path), "w", format=self._format or FORMATS[0]) as out:
            audio: Any = out.add_stream("pcm_f32le", rate=RATE, layout="mono")
            video: Any = self._video
            video = out.add_stream_from_template(video, opaque=True) if kept else None
            # without a gap before the sound, which would be taken for one of the recording
            sound = np.concatenate([np.zeros(round((start - zero) * RATE), np.float32), sound])
            latest, first = None, 0
            for at, packet in [*kept, (np.inf, None)]:
                while first < len(sound) and first / RATE <= at - zero:
                    samples = sound[None, first : first + RATE // 2]
                    frame = av.AudioFrame.from_ndarray(samples, format="flt", layout="mono")
                    frame.sample_rate, frame.pts = RATE, first
                    out.mux(audio.encode(frame))
                    first += samples.shape[1]
                if packet is None:
                    break
                copy, base = av.Packet(bytes(packet)), packet.time_base
                shown = packet.dts if packet.pts is None else packet.pts
                decoded = shown if packet.dts is None else packet.dts
                shift = shown - round((at - zero) / base)
                # parts that a restarted clock joins may overlap by a frame, which muxers refuse
                copy.dts = decoded - shift if latest is None else max(latest, decoded - shift)
                copy.pts = max(copy.dts, shown - shift)
                latest = copy.dts
                copy.time_base, copy.duration = base, packet.duration
                copy.is_keyframe, copy.stream = packet.is_keyframe, video
                try:
                    out.mux(copy)
                except (av.error.InvalidDataError, av.error.ArgumentError):
                    self._damaged = True
        return zero

    def _known(self) -> float:
        """Return up to when all sound has come, in seconds."""
        ends = self._sound.ends or [0.0]
        if self._finished:
            return ends[-1]
        picture = min(self._shown) if len(self._shown) == LATER else 0.0
        return max(ends[0], max(ends[-1], picture) - LATE)

    def _take(self, packet: Any) -> None:
        """Place a packet in time, and keep its picture or its sound."""
        index, base = packet.stream.index, packet.time_base
        if packet.size:
            repair(packet, base)
            ticks = packet.pts if packet.pts is not None else packet.dts
            if ticks is not None:
                decoded = float((ticks if packet.dts is None else packet.dts) * base)
                duration = float((packet.duration or 0) * base)
                offset = self._clock.offset(index, decoded, float(ticks * base), duration)
                packet.pts = ticks + round(offset / base)
                packet.dts = None if packet.dts is None else packet.dts + round(offset / base)
        if self._video is None or index != self._video.index:
            for frame in frames_of(packet, []):
                time = None if frame.time is None else frame.time - self._from(frame.time)
                self._sound.tracks[index].add(frame, time)
        elif packet.size and packet.pts is not None:
            shown = float(packet.pts * base)
            time = shown - self._from(shown)
            self._shown.append(time)
            self._kept.append((time, packet))
            self._bytes += packet.size
            if self._bytes > MAX_BYTES:
                self.picture_lost = True
                self._keep(deque())

    def _from(self, first: float) -> float:
        """Return the timestamp of time 0. first: that of the first content.

        A start below 0 is either a clock that starts there, or a lead-in that decoders remove.
        """
        if self._zero is None:
            start = self._container.start_time
            zero = first if start is None else start / 1e6
            if first - zero > APART:  # stated by a stream whose clock is damaged
                zero = first
            self._zero = zero if zero >= 0 else min(0.0, max(zero, first))
        return self._zero

    def _keep(self, kept: deque[tuple[float, Any]]) -> None:
        self._kept = kept
        self._bytes = sum(packet.size for _, packet in kept)


def _format_for(stream: Any) -> str:
    """Return the format of files that can hold a stream; "" if there is none."""
    import av

    for name in FORMATS:
        with av.open(_Nowhere(), "w", format=name) as out:
            try:
                out.add_stream_from_template(stream, opaque=True)
            except ValueError:  # PyAV: this format does not know this codec
                continue
            return name
    return ""


class _Nowhere:
    """A file that is written to nowhere."""

    def write(self, data: bytes) -> int:
        return len(data)


def _unreadable(feed: Feed, error: Exception) -> MediaError:
    if not feed.received:
        return MediaError(
            f"{feed.name}: it ended before anything came",
            "check the command or program that records",
        )
    text = getattr(error, "strerror", None) or str(error)
    return MediaError(
        f"{feed.name}: cannot be read while it grows ({text})",
        "record as Matroska, WebM, MPEG-TS, WAV or Ogg: the index of MP4 and MOV is written at the "
        "end",
    )
