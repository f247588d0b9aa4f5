"""Decode a recording: its audio to disk at 16 kHz, its frames as a stream.

Times are seconds from the start of the container, as players and subtitles count them. Audio that
starts later is preceded by silence. If the clock of the file restarts or jumps, times go on.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.counts import counted
from pipeline.core.errors import MercWarning
from pipeline.core.fingerprints import sha256_of
from pipeline.core.forks import check_fork
from pipeline.media.breaks import APART
from pipeline.media.clock import Clock, read_clock
from pipeline.media.containers import (
    MediaError,
    best_first,
    check_local,
    frames_of,
    is_cover,
    open_container,
    packets,
    stated_duration,
)
from pipeline.media.endings import describe_cut
from pipeline.media.mixing import AudioStream
from pipeline.media.resampling import RATE
from pipeline.media.sound import RATES
from pipeline.media.soundtrack import Soundtrack, decode_soundtrack

__all__ = ["RATE", "Media", "MediaError", "open_media", "upright"]

_MAX_PIXELS = 1 << 26  # 8192 × 8192; larger frames are mostly a damaged header
# frame threads hold one frame each, so bound their number on large machines
_DECODER_THREADS = 4
_PEEK = 500  # packets that are decoded at most to find out when a recording starts


def open_media(path: str | Path) -> Media:
    """Open a local recording; close it, or use `with`, to free its temporary files.

    >>> with open_media("examples/dialogue.mp4") as media:
    ...     media.sound(1.0, 2.0).shape
    (16000,)

    Raises MediaError if it is not a local recording, or has neither audio nor video; MercError in a
    fork of a process that has used its models.
    """
    check_fork()  # before anything is recognised in it
    check_local(path)
    return Media(Path(path))


class Media:
    """An open recording. Use `open_media` to make one.

    warnings: what is wrong with the recording (damaged, cut short, ...); grows as it is decoded.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.warnings: list[MercWarning] = []
        self._track = Soundtrack()
        self._clock = Clock({}, {})
        self._decoded = False
        self._lock = threading.Lock()
        self._video_end = 0.0  # s
        with open_container(self.path) as container:
            # libav gives it in microseconds; below 0, see _start
            self._zero = (container.start_time or 0) / 1e6
            self._claimed = stated_duration(path, container)
            self._cut = describe_cut(path, container.format.name)
            audio = [s for s in container.streams.audio if self._is_valid_audio(s)]
            video = [s for s in container.streams.video if self._is_valid_video(s)]
            self._audio = [
                AudioStream(s.index, s.codec_context.channels, s.metadata.get("language", ""))
                for s in best_first(container, "audio", audio)
            ]
            self._video = next((s.index for s in best_first(container, "video", video)), None)
        if not self._audio and self._video is None:
            reasons = "; ".join(warning.text for warning in self.warnings)
            raise MediaError(
                f"{path}: contains no audio or video that can be decoded"
                + (f" ({reasons})" if reasons else ""),
                "give an audio or video file, or convert it: ffmpeg -i INPUT -c:a flac OUTPUT.mkv",
            )

    def __enter__(self) -> Media:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Delete the temporary audio."""
        self._track.sound.close()
        self._track = Soundtrack()
        self._decoded = False

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file."""
        return sha256_of(self.path)

    @property
    def has_audio(self) -> bool:
        """Whether audio could be decoded; digital silence is audio."""
        self._decode_sound()
        return self._track.sound.samples > 0

    @property
    def has_video(self) -> bool:
        """Whether there is a video stream; cover art is not video."""
        self._decode_sound()
        return self._video is not None

    @property
    def duration(self) -> float:
        """Length in seconds, measured and not taken from the header."""
        self._decode_sound()
        return max(self._sound_end, self._video_end)

    @property
    def sound_source(self) -> dict[str, Any]:
        """Where the sound comes from: indices of the streams, and how they became one channel.

        >>> with open_media("examples/dialogue.mp4") as media:
        ...     media.sound_source
        {'streams': [1], 'mix': 'mean of 2 channels'}
        """
        self._decode_sound()
        return {"streams": list(self._track.streams), "mix": self._track.mix}

    def channel_power(self, start: float, end: float) -> np.ndarray:
        """Return the mean power of each channel of the sound's streams between two times, (c,).

        The streams are those of `sound_source`; a constant offset has no power.
        """
        self._decode_sound()
        return self._track.power(start, end)

    def sound(self, start: float = 0.0, end: float = math.inf) -> np.ndarray:
        """Return the audio between two times as (n,) float32, mono, 16 kHz.

        Times outside the recording are cut off, so the result may be shorter or empty.
        """
        self._decode_sound()
        end = min(max(end, 0.0), self._sound_end + 1)
        return self._track.sound.read(round(max(start, 0.0) * RATE), round(end * RATE))

    def frames(self, rate: float = 10.0) -> Iterator[tuple[float, np.ndarray]]:
        """Yield (time in s, (h, w, 3) uint8 RGB), at most `rate` frames per second, in one pass.

        Frames are upright and have square pixels. The first frame at or after each multiple of
        1/rate s is taken by its timestamp, so variable frame rates are handled.
        """
        from av.video.reformatter import VideoReformatter

        self._decode_sound()
        if self._video is None:
            return
        reformatter, due = VideoReformatter(), 0.0
        count = decoded = 0  # packets, and frames that have a time
        with open_container(self.path) as container:
            stream = container.streams[self._video]
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = _DECODER_THREADS
            stream.codec_context.options = {"max_pixels": str(_MAX_PIXELS)}
            aspect = float(stream.sample_aspect_ratio or 1)
            for packet in self.packets(container, [stream]):
                count += bool(packet.size)
                for frame in frames_of(packet, []):
                    decoded += frame.time is not None
                    if frame.time is None or frame.time - self._zero + 1e-6 < due:
                        continue
                    time = frame.time - self._zero
                    due = (math.floor(time * rate + 1e-6) + 1) / rate
                    yield time, upright(reformatter, frame, aspect)
        if not decoded:
            self.warn("no video frame could be decoded; visual features are missing")
        elif decoded < count / 3:  # an interlaced frame may have two packets
            self.warn(f"only {decoded} of {count} video frames could be decoded; it is damaged")

    @property
    def video_stream(self) -> int | None:
        """Index of the video stream; None if there is none."""
        self._decode_sound()
        return self._video

    @property
    def zero(self) -> float:
        """The timestamp of time 0 on the one timeline of `packets`, in seconds."""
        self._decode_sound()
        return self._zero

    def packets(self, container: Any, streams: Sequence[Any]) -> Iterator[Any]:
        """Yield the packets of some streams, with their times on the one timeline.

        container: the recording, as `open_container` opens it. The last packet of each stream is
        empty: it flushes the decoder.
        """
        self._decode_sound()
        return self._clock.corrected(packets(container, list(streams), []))

    def warn(self, text: str) -> None:
        """Add a warning about this recording, once."""
        warning = MercWarning(self.path.name, text)
        if warning not in self.warnings:
            self.warnings.append(warning)

    @property
    def _sound_end(self) -> float:
        return self._track.sound.samples / RATE

    def _is_valid_audio(self, stream: Any) -> bool:
        if stream.codec_context is None:
            self.warn(f"the codec of audio stream {stream.index} is unknown; ignoring the stream")
            return False
        rate = stream.codec_context.sample_rate
        if rate and not RATES[0] <= rate <= RATES[1]:  # 0: not known before it is decoded
            self.warn(
                f"audio stream {stream.index} has a sample rate of {rate} Hz: damaged header, "
                "speech needs 1 kHz or more; ignoring the stream"
            )
            return False
        return True

    def _is_valid_video(self, stream: Any) -> bool:
        if is_cover(stream):
            return False
        if stream.codec_context is None:
            self.warn("the codec of the video is unknown; ignoring the video")
            return False
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > _MAX_PIXELS:
            self.warn(
                f"its picture has {width} × {height} pixels, more than the {_MAX_PIXELS:,} that "
                "merc decodes; ignoring the video. If that is its size, make it smaller: "
                "ffmpeg -i INPUT -vf scale=1280:-2 -c:a copy OUTPUT"
            )
        elif width * height <= 0:
            self.warn("the video is damaged, the size of its frames is unknown; ignoring the video")
        return 0 < width * height <= _MAX_PIXELS

    def _decode_sound(self) -> None:
        """Read the clock and decode the audio to disk, once."""
        with self._lock:
            if self._decoded:
                return
            indices = [stream.index for stream in self._audio]
            indices += [] if self._video is None else [self._video]
            self._clock = read_clock(self.path, indices)
            self._zero = self._start(indices)
            self._warn_of_breaks()
            self._track = decode_soundtrack(self.path, self._audio, self._clock, self._zero)
            self._set_video_end()
            self._check_content()
            self._decoded = True

    def _start(self, indices: list[int]) -> float:
        """Return the timestamp of time 0, in seconds.

        A start below 0 is either a clock that starts there, or a lead-in that decoders remove. The
        first decoded content tells which.
        """
        start = self._clock.start()
        if start - self._zero > APART:  # stated by a stream whose clock is damaged
            return start
        if self._zero >= 0:
            return self._zero
        firsts: dict[int, float] = {}
        with open_container(self.path) as container:
            streams = [container.streams[index] for index in indices]
            for number, packet in enumerate(packets(container, streams, [])):
                index = packet.stream.index
                for frame in [] if index in firsts else frames_of(packet, []):
                    if frame.time is not None:
                        firsts.setdefault(index, frame.time)
                if len(firsts) == len(indices) or number == _PEEK:
                    break
        return min(0.0, max(self._zero, min(firsts.values(), default=0.0)))

    def _warn_of_breaks(self) -> None:
        breaks = max(self._clock.breaks.values(), key=len, default=[])
        if breaks:
            times = "once" if len(breaks) == 1 else f"{len(breaks)} times"
            self.warn(
                f"its clock restarts or jumps {times}, as in recordings joined together; times "
                "continue without the jump"
            )
        gaps = [(a - self._zero, b - self._zero) for a, b in self._clock.gaps]
        if gaps:
            start, end = max(gaps, key=lambda gap: gap[1] - gap[0])
            what = "gap" if len(gaps) == 1 else f"{len(gaps)} gaps, the longest"
            self.warn(
                f"{what} without sound or picture: {start:.1f} to {end:.1f} s; if its parts "
                "follow each other at once, all later times are too late by that"
            )

    def _set_video_end(self) -> None:
        if self._video is None:
            return
        times = self._clock.shown(self._video)
        if times:
            first, last = min(times), max(times)
            # the last frame is shown for the mean duration of a frame
            frame = (last - first) / max(1, len(times) - 1)
            self._video_end = last - self._zero + frame
        elif self._clock.streams[self._video].order:
            self._video = None
            if not self._sound_end:
                raise MediaError(
                    f"{self.path}: its video has no timestamps, so nothing in it has a time",
                    f"write them with the right frame rate: {_remux(self.path)}",
                )
            self.warn(
                "its video has no timestamps; ignoring the video. Write them with the right frame "
                f"rate: {_remux(self.path)}"
            )
        else:
            self._video = None
            self.warn("its video stream is empty; ignoring it")

    def _check_content(self) -> None:
        """Warn if the content is damaged; raise MediaError if there is none."""
        duration = max(self._sound_end, self._video_end)
        for text in self._track.warnings:
            self.warn(text)
        if not self._sound_end and not self._video_end and self._video is None:
            raise MediaError(
                f"{self.path}: nothing in it can be decoded, although its header is intact; the "
                "file is damaged or was cut short",
                "copy it again",
            )
        if self._audio and not self._sound_end:
            self.warn("its audio stream could not be decoded")
        if self._track.errors:
            self.warn(
                f"damaged in {counted(self._track.errors, 'place')}; using what could be decoded"
            )
        if self._claimed > max(duration + 1.0, 1.1 * duration):
            self.warn(
                f"its header says {self._claimed:.1f} s, but it contains {duration:.1f} s. It was "
                "cut short or its header is wrong. Copy it again if it should be longer"
            )
        elif self._cut:
            self.warn(
                f"{self._cut}. It was cut short, or is still being written. Copy it again if it "
                "should be longer"
            )


def upright(reformatter: Any, frame: Any, aspect: float) -> np.ndarray:
    """Convert a frame to RGB with square pixels, rotated as its display matrix says.

    reformatter: of PyAV. aspect: of a pixel, width over height.
    """
    stretch = 1.05 < max(aspect, 1 / aspect) < 4  # otherwise square, or a damaged header
    width = round(frame.width * aspect) if stretch else frame.width
    rgb = reformatter.reformat(frame, width=width, height=frame.height, format="rgb24").to_ndarray()
    # the angle of the display matrix is counter-clockwise, as rot90 turns
    return np.ascontiguousarray(np.rot90(rgb, round(frame.rotation / 90) % 4))


def _remux(path: Path) -> str:
    return f"ffmpeg -r 25 -i {path.name} -c copy {path.stem}.mp4"
