"""Decode a recording: its audio to disk at 16 kHz, its frames as a stream.

Times are seconds from the start of the container, as players and subtitles count them. Audio that
starts later is preceded by silence.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import MercWarning
from pipeline.core.fingerprints import sha256_of
from pipeline.media.containers import MediaError, check_local, frames_of, open_container, packets
from pipeline.media.sound import RATE, SoundFile, SoundWriter

__all__ = ["RATE", "Media", "MediaError", "open_media"]

_MAX_PIXELS = 1 << 26  # 8192 × 8192; a larger frame size is a damaged header
# frame threads hold one frame each, so bound their number on large machines
_DECODER_THREADS = 4


def open_media(path: str | Path) -> Media:
    """Open a local recording; close it, or use `with`, to free its temporary files.

    >>> with open_media("examples/dialogue.mp4") as media:
    ...     media.sound(1.0, 2.0).shape
    (16000,)

    Raises MediaError if it is not a local recording, or has neither audio nor video.
    """
    check_local(path)
    return Media(Path(path))


class Media:
    """An open recording. Use `open_media` to make one.

    warnings: what is wrong with the recording (damaged, cut short, ...); grows as it is decoded.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.warnings: list[MercWarning] = []
        self._sound: SoundFile | None = None
        self._decoded = False
        self._lock = threading.Lock()
        self._sound_end = self._video_end = 0.0  # s
        with open_container(self.path) as container:
            # libav gives both in microseconds
            self._zero = max(0.0, (container.start_time or 0) / 1e6)
            self._claimed = (container.duration or 0) / 1e6
            audio = [s for s in container.streams.audio if s.codec_context is not None]
            video = [s for s in container.streams.video if not _is_cover(s) and self._is_valid(s)]
            self._audio = _best(container, "audio", audio)
            self._video = _best(container, "video", video)
        if len(audio) > 1:
            self._warn(f"{len(audio)} audio streams; using stream {self._audio}")
        if self._audio is None and self._video is None:
            raise MediaError(
                f"{path}: contains no audio or video that can be decoded",
                "give an audio or video file, or convert it: ffmpeg -i INPUT -c:a flac OUTPUT.mkv",
            )

    def __enter__(self) -> Media:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Delete the temporary audio."""
        if self._sound is not None:
            self._sound.close()
            self._sound = None
        self._decoded = False

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file."""
        return sha256_of(self.path)

    @property
    def has_audio(self) -> bool:
        """Whether audio could be decoded; digital silence is audio."""
        self._decode_sound()
        return self._sound is not None and self._sound.samples > 0

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

    def sound(self, start: float = 0.0, end: float = math.inf) -> np.ndarray:
        """Return the audio between two times as (n,) float32, mono, 16 kHz.

        Times outside the recording are cut off, so the result may be shorter or empty.
        """
        self._decode_sound()
        if self._sound is None:
            return np.zeros(0, np.float32)
        end = min(max(end, 0.0), self._sound_end + 1)
        return self._sound.read(round(max(start, 0.0) * RATE), round(end * RATE))

    def frames(self, rate: float = 10.0) -> Iterator[tuple[float, np.ndarray]]:
        """Yield (time in s, (h, w, 3) uint8 RGB), at most `rate` frames per second, in one pass.

        Frames are upright and have square pixels. The first frame at or after each multiple of
        1/rate s is taken by its timestamp, so variable frame rates are handled.
        """
        from av.video.reformatter import VideoReformatter

        self._decode_sound()
        if self._video is None:
            return
        reformatter, due, decoded = VideoReformatter(), 0.0, False
        with open_container(self.path) as container:
            stream = container.streams[self._video]
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = _DECODER_THREADS
            stream.codec_context.options = {"max_pixels": str(_MAX_PIXELS)}
            aspect = float(stream.sample_aspect_ratio or 1)
            for packet in packets(container, [stream], []):
                for frame in frames_of(packet, []):
                    decoded = True
                    if frame.time is None or frame.time - self._zero + 1e-6 < due:
                        continue
                    time = frame.time - self._zero
                    due = (math.floor(time * rate + 1e-6) + 1) / rate
                    yield time, _upright(reformatter, frame, aspect)
        if not decoded:
            self._warn("no video frame could be decoded; visual features are missing")

    def _warn(self, text: str) -> None:
        warning = MercWarning(self.path.name, text)
        if warning not in self.warnings:
            self.warnings.append(warning)

    def _is_valid(self, stream: Any) -> bool:
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > _MAX_PIXELS:
            self._warn(f"video of {width} × {height} pixels: damaged header; ignoring the video")
        return 0 < width * height <= _MAX_PIXELS

    def _decode_sound(self) -> None:
        """Decode the audio to disk and find the end of the video, once, in one pass."""
        with self._lock:
            if self._decoded:
                return
            sound = SoundFile()
            writer = SoundWriter(sound, self._zero)
            errors: list[str] = []
            video_times: list[float] = []
            with open_container(self.path) as container:
                indices = [index for index in (self._audio, self._video) if index is not None]
                streams = [container.streams[index] for index in indices]
                for packet in packets(container, streams, errors):
                    if packet.stream.type == "video":  # not decoded here
                        if packet.pts is not None and packet.size:
                            video_times.append(float(packet.pts * packet.time_base))
                        continue
                    for frame in frames_of(packet, errors):
                        writer.write(frame)
            writer.close()
            self._sound, self._sound_end = sound, sound.samples / RATE
            self._set_video_end(video_times)
            self._check_content(writer.warnings, len(errors))
            self._decoded = True

    def _set_video_end(self, times: list[float]) -> None:
        if times:
            first, last = min(times), max(times)
            # the last frame is shown for the mean duration of a frame
            frame = (last - first) / max(1, len(times) - 1)
            self._video_end = last - self._zero + frame
        elif self._video is not None:
            self._video = None
            self._warn("the video has no timestamps; ignoring it")

    def _check_content(self, sound_warnings: list[str], errors: int) -> None:
        """Warn if the content is damaged; raise MediaError if there is none."""
        duration = max(self._sound_end, self._video_end)
        for text in sound_warnings:
            self._warn(text)
        if not self._sound_end and not self._video_end and self._video is None:
            raise MediaError(
                f"{self.path}: nothing in it can be decoded, although its header is intact; the "
                "file is damaged or was cut short",
                "copy it again",
            )
        if self._audio is not None and not self._sound_end:
            self._warn("its audio stream could not be decoded")
        if errors:
            self._warn(f"damaged in {errors} places; using what could be decoded")
        if self._claimed > max(duration + 1.0, 1.1 * duration):
            self._warn(
                f"its header says {self._claimed:.1f} s, but it contains {duration:.1f} s. It was "
                "cut short or its header is wrong. Copy it again if it should be longer"
            )


def _upright(reformatter: Any, frame: Any, aspect: float) -> np.ndarray:
    """Convert a frame to RGB with square pixels, rotated as its display matrix says."""
    stretch = 1.05 < max(aspect, 1 / aspect) < 4  # otherwise square, or a damaged header
    width = round(frame.width * aspect) if stretch else frame.width
    rgb = reformatter.reformat(frame, width=width, height=frame.height, format="rgb24").to_ndarray()
    # the angle of the display matrix is counter-clockwise, as rot90 turns
    return np.ascontiguousarray(np.rot90(rgb, round(frame.rotation / 90) % 4))


def _best(container: Any, kind: str, streams: list[Any]) -> int | None:
    """Return the index of the stream that libav prefers, if it is one of `streams`."""
    best = container.streams.best(kind)
    indices = [stream.index for stream in streams]
    return best.index if best is not None and best.index in indices else next(iter(indices), None)


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & stream.disposition.__class__.attached_pic)
