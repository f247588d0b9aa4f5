"""Decode a local medium: its sound to disk at 16 kHz, its frames as a stream, both on the clock of the file.

Time 0 is the start of the container, as players and subtitles count; sound that starts late is led in by silence.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.media.containers import MediaError, check_local, frames_of, open_container, packets
from pipeline.media.sound import RATE, SoundFile, SoundWriter, warn_once

__all__ = ["RATE", "Media", "MediaError", "open_media"]

_MAX_PIXELS = 1 << 26  # 8192 × 8192: more is a damaged header, not a dialogue


def open_media(path: str | Path) -> Media:
    """Open a local medium; close it (or use `with`) to free the temporary sound.

    Raises MediaError: missing, a folder, empty, a network name, a playlist, no sound and no picture, not a medium.
    """
    check_local(path)
    return Media(Path(path))


class Media:
    """One local medium.  `warnings` grows while it is decoded: damaged, cut short, sound that jumps."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.warnings: list[str] = []
        self._sound: SoundFile | None = None
        self._scanned = False
        self._lock = threading.Lock()
        self._sound_end = self._video_end = 0.0
        with open_container(self.path) as container:
            self._zero = max(
                0.0, (container.start_time or 0) / 1e6
            )  # s; libav counts this header field in µs
            self._claimed = (container.duration or 0) / 1e6
            audio = [s for s in container.streams.audio if s.codec_context is not None]
            self._audio = _best(container, "audio", audio)
            video = [s for s in container.streams.video if not _is_cover(s) and self._sane(s)]
            self._video = _best(container, "video", video)
            if len(audio) > 1:
                self.warnings.append(
                    f"{path.name}: {len(audio)} sound tracks; stream {self._audio} is used"
                )
        if self._audio is None and self._video is None:
            raise MediaError(
                f"{path}: holds neither sound nor moving picture that can be decoded; give a sound or "
                f"video file, or convert it: ffmpeg -i INPUT -c:a flac OUTPUT.mkv"
            )

    def __enter__(self) -> Media:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the temporary sound."""
        if self._sound is not None:
            self._sound.close()
            self._sound = None
        self._scanned = False

    @cached_property
    def sha256(self) -> str:
        """Of the file's bytes, streamed."""
        with open(self.path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @property
    def has_audio(self) -> bool:
        """Whether sound could be decoded (digital silence is sound)."""
        self._scan()
        return self._sound is not None and self._sound.samples > 0

    @property
    def has_video(self) -> bool:
        """Whether there is a moving picture (the cover of an album is none)."""
        self._scan()
        return self._video is not None

    @property
    def duration(self) -> float:
        """Seconds, from what is in the file and not from what its header claims."""
        self._scan()
        return max(self._sound_end, self._video_end)

    def sound(self, start: float = 0.0, end: float = math.inf) -> np.ndarray:
        """(n,) float32 mono at 16 kHz between two times of the file; what lies outside it is left off."""
        self._scan()
        if self._sound is None:
            return np.zeros(0, np.float32)
        return self._sound.read(
            round(max(start, 0.0) * RATE), round(min(max(end, 0.0), self._sound_end + 1) * RATE)
        )

    def frames(self, rate: float = 10.0) -> Iterator[tuple[float, np.ndarray]]:
        """(time in s, (h, w, 3) uint8 RGB), at most `rate` a second, upright, with square pixels, in one pass.

        The first frame at or after each 1/rate s by its own timestamp, so variable frame rates need no care.
        """
        from av.video.reformatter import VideoReformatter

        self._scan()
        if self._video is None:
            return
        reformatter, due, count = VideoReformatter(), 0.0, 0
        with open_container(self.path) as container:
            stream = container.streams[self._video]
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = (
                4  # frame threads hold a frame each: bounded on large machines
            )
            stream.codec_context.options = {"max_pixels": str(_MAX_PIXELS)}
            aspect = float(stream.sample_aspect_ratio or 1)
            for packet in packets(container, [stream], []):
                for frame in frames_of(packet, []):
                    count += 1
                    if frame.time is None or frame.time - self._zero + 1e-6 < due:
                        continue
                    time = frame.time - self._zero
                    due = (math.floor(time * rate + 1e-6) + 1) / rate
                    yield time, _upright(reformatter, frame, aspect)
        if not count:
            warn_once(
                self.warnings,
                f"{self.path.name}: no frame of its picture could be decoded; faces are missing",
            )

    def _sane(self, stream: Any) -> bool:
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > _MAX_PIXELS:
            self.warnings.append(
                f"{self.path.name}: a picture of {width} × {height} is taken for a damaged header; "
                f"the picture is left out"
            )
        return 0 < width * height <= _MAX_PIXELS

    def _scan(self) -> None:
        """One pass over the file: decode the sound to disk, note when the picture ends.  Done once, when needed."""
        with self._lock:
            if self._scanned:
                return
            sound = SoundFile()
            damaged: list[str] = []
            pictures: list[float] = []
            writer = SoundWriter(sound, self._zero)
            with open_container(self.path) as container:
                wanted = [container.streams[i] for i in (self._audio, self._video) if i is not None]
                for packet in packets(container, wanted, damaged):
                    if packet.stream.type == "video":  # not decoded here
                        if packet.pts is not None and packet.size:
                            pictures.append(float(packet.pts * packet.time_base))
                        continue
                    for frame in frames_of(packet, damaged):
                        writer.write(frame)
            writer.close()
            self._sound, self._sound_end = sound, sound.samples / RATE
            if pictures:
                first, last = min(pictures), max(pictures)
                self._video_end = last - self._zero + (last - first) / max(1, len(pictures) - 1)
            elif self._video is not None:
                self._video = None
                self.warnings.append(
                    f"{self.path.name}: its picture carries no times and is left out"
                )
            self._report(writer, len(damaged))
            self._scanned = True

    def _report(self, writer: SoundWriter, damaged: int) -> None:
        name, found = self.path.name, max(self._sound_end, self._video_end)
        self.warnings.extend(f"{name}: {text}" for text in writer.warnings)
        if not self._sound_end and not self._video_end and self._video is None:
            raise MediaError(
                f"{self.path}: nothing in it can be decoded, though its header is whole; the file is "
                f"damaged or cut short: copy it again"
            )
        if self._audio is not None and not self._sound_end:
            self.warnings.append(f"{name}: no sound could be decoded from its sound track")
        if damaged:
            self.warnings.append(
                f"{name}: damaged in {damaged} places; what could be decoded is used"
            )
        if self._claimed > max(found + 1.0, 1.1 * found):
            self.warnings.append(
                f"{name}: its header claims {self._claimed:.1f} s but {found:.1f} s are in it; it was "
                f"cut short or its header is wrong. Copy it again if it should be longer"
            )


def _upright(reformatter: Any, frame: Any, aspect: float) -> np.ndarray:
    """RGB, turned by the display matrix (its angle is counter-clockwise), widened where pixels are far from square."""
    width = round(frame.width * aspect) if 1.05 < max(aspect, 1 / aspect) < 4 else frame.width
    rgb = reformatter.reformat(frame, width=width, height=frame.height, format="rgb24").to_ndarray()
    return np.ascontiguousarray(np.rot90(rgb, round(frame.rotation / 90) % 4))


def _best(container: Any, kind: str, streams: list[Any]) -> int | None:
    best = container.streams.best(kind)
    indices = [stream.index for stream in streams]
    return best.index if best is not None and best.index in indices else next(iter(indices), None)


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & stream.disposition.__class__.attached_pic)
